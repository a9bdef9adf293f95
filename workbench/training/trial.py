"""One trial of a recipe: its heaviest step, samples and a save, measured and thrown away.

Everything happens in a temporary folder with a few of the recipe's own pictures. Nothing of it
stays: no run folder, no lock, no cached latent; only the hashes of files that were read are
remembered, and a base from the Hub stays in the Hub's own cache.
"""

import gc
import math
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from workbench import settings
from workbench.data import dataset as data
from workbench.data.dataset import Dataset
from workbench.data.loader import Loader
from workbench.process import THOUSAND
from workbench.recipe import LengthSettings, Recipe
from workbench.records.events import Preparing
from workbench.records.pictures import save_pictures
from workbench.records.sampling import draw, evaluating, fill_prompt
from workbench.training import saving
from workbench.training.step import train_step
from workbench.training.trainer import Trainer, assemble

SAMPLE_STEPS = 2  # denoising steps that are timed; the rest cost the same


@dataclass(frozen=True)
class Load:
    """The heaviest step of a run, and what the run consists of.

    Attributes:
        dataset: the pictures of that step alone.
        bucket: width and height in px.
        num_pictures: pictures of the whole run.
        total_steps: optimizer steps; None where only a time is given.
        micro_batches: forward passes of a full optimizer step.
    """

    dataset: Dataset
    bucket: tuple[int, int]
    num_pictures: int
    total_steps: int | None
    micro_batches: int


@dataclass(frozen=True)
class Trial:
    """What one recipe took on this machine.

    Attributes:
        peaks: bytes at most in use, by what was done: "step", "samples"; of the GPU, or of this
            process on a CPU.
        step_s: seconds of an optimizer step at the heaviest bucket.
        seconds: of one picture's caching, one image's validation, all samples, one save.
        sizes: bytes of a checkpoint, a LoRA file, a sample, a cached picture.
        failed: the step that ran out of memory; "" where all fitted.
    """

    peaks: Mapping[str, int]
    step_s: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    failed: str = ""

    @property
    def peak(self) -> int:
        """Bytes at most in use."""
        return max(self.peaks.values(), default=0)


def heaviest(recipe: Recipe) -> Load:
    """Find the step that takes the most memory: most pixels in one forward pass.

    Args:
        recipe: what is to run.
    Returns:
        Its pictures, and what the run consists of.
    """
    whole, training = data.index(recipe.data), recipe.training
    train, _ = data.split(whole, recipe.data.holdout, seed=training.seed)
    loader = Loader(
        whole, train, batch_size=training.batch_size, accumulation=training.accumulation, seed=0
    )
    looked_at = train[:1024] if whole.is_drawn else train  # a drawn world repeats its sizes
    showings: dict[tuple[int, int], list[int]] = {}
    for record in looked_at:
        bucket = whole.placements[record].bucket
        showings.setdefault(bucket, []).extend([record] * whole.repeats[record])

    def pixels(bucket: tuple[int, int]) -> int:
        return bucket[0] * bucket[1] * min(training.batch_size, len(showings[bucket]))

    bucket = max(showings, key=pixels)
    wanted = showings[bucket][: training.batch_size * training.accumulation]
    records = list(dict.fromkeys(wanted))
    few = Dataset(
        whole.settings,
        records=[whole.records[record] for record in records],
        placements=[whole.placements[record] for record in records],
        repeats=[wanted.count(record) for record in records],
        masks=[whole.masks[record] for record in records],
    )
    return Load(
        few,
        bucket,
        num_pictures=len(whole),
        total_steps=recipe.length.total_steps(loader.steps_per_epoch),
        micro_batches=min(training.accumulation, loader.micro_batches_per_epoch),
    )


def attempt(recipe: Recipe, load: Load) -> Generator[Preparing, None, Trial]:
    """Do all of it once; memory that runs out ends the trial and not the program.

    Args:
        recipe: what is to run.
        load: of `heaviest`.
    Yields:
        What is being done.
    Returns:
        What it took.
    Raises:
        SettingsError, FileRefused: the recipe, the base or the data cannot be used.
        NotFinite: the very first step fails.
    """
    gc.collect()
    _reset_peak()
    taken = _Taken()
    with tempfile.TemporaryDirectory(prefix="workbench-preflight-") as name:
        try:
            yield from _measure(recipe, load, Path(name), taken=taken)
        except torch.OutOfMemoryError:
            taken.failed = taken.doing
            taken.peaks[taken.doing] = _peak()
    if taken.failed:  # not before: the error held what filled the device
        gc.collect()
        torch.cuda.empty_cache()
    return Trial(taken.peaks, taken.step_s, taken.seconds, taken.sizes, taken.failed)


@dataclass
class _Taken:
    """A trial as it is being made."""

    doing: str = "loading"
    peaks: dict[str, int] = field(default_factory=dict)
    step_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    failed: str = ""


def _measure(
    recipe: Recipe, load: Load, folder: Path, *, taken: _Taken
) -> Generator[Preparing, None, None]:
    """Assemble, step, validate, sample and save."""
    steps = max(load.total_steps or 1000, 2)
    changes = {"length": LengthSettings(steps=steps), "trackers": ()}
    trainer = yield from assemble(
        settings.replace(recipe, **changes), folder=folder, dataset=load.dataset, home=folder
    )
    taken.sizes["cached"] = _bytes(folder) // len(load.dataset)
    taken.seconds["caching"] = _caching_s(trainer, load)
    taken.doing = "step"
    yield Preparing(stage="one step at the heaviest bucket", done=0, total=1)
    for module in trainer.adapter.modules.values():
        module.train()
    step = trainer.loader.step(0)
    train_step(trainer, step)  # makes the optimizer's averages, and warms up
    seconds = _timed(lambda: train_step(trainer, step))
    taken.step_s = seconds * load.micro_batches / len(step.micro_batches)
    taken.peaks["step"] = _peak()
    taken.seconds["validation"] = _validation_s(trainer)
    taken.doing = "samples"
    yield Preparing(stage="one batch of samples", done=0, total=1)
    _sample(trainer, folder / "samples", taken, prompts=recipe.sampling.prompts)
    taken.peaks["samples"] = _peak()
    taken.doing = "saving"
    yield Preparing(stage="one save", done=0, total=1)
    saved = _timed(lambda: saving.save_checkpoint(trainer, folder, 2, seconds=0.0))
    taken.sizes["checkpoint"] = _bytes(folder / "checkpoints")
    path = saving.save_lora(trainer, folder / "lora" / "trial.safetensors", 2)
    taken.sizes["lora"] = _bytes(path.parent)
    taken.seconds["saving"] = saved


def _caching_s(trainer: Trainer, load: Load) -> float:
    """Seconds of one picture's way into the cache; 0 where latents are not cached."""
    if trainer.batches.latents is None:
        return 0.0
    pixels = load.dataset.pixels(0)[None].to(trainer.family.device)
    read = _timed(lambda: load.dataset.pixels(0))
    with torch.no_grad(), trainer.family.using("codec"):
        return read + _timed(lambda: trainer.family.codec.encode(pixels))


def _validation_s(trainer: Trainer) -> float:
    """Seconds of measuring the stable loss once, from one image."""
    chosen = trainer.recipe.validation
    count, held_out = chosen.num_images, trainer.recipe.data.holdout > 0
    thousandths = torch.linspace(0, THOUSAND - 1, chosen.num_bins * chosen.draws)
    level = trainer.family.process.at(thousandths)
    with evaluating(trainer.family):
        draws = torch.Generator()
        one = _timed(lambda: trainer.stable_losses(0, level, draws))
    return one * count * (2 if held_out else 1)


def _sample(
    trainer: Trainer, folder: Path, taken: _Taken, *, prompts: tuple[str, ...] | None
) -> None:
    """Draw as many pictures at once as the run will, with few steps, and scale the time up."""
    sampling, subset = trainer.recipe.sampling, trainer.recipe.data.subsets[0]
    words = {"trigger": subset.trigger, "class_word": subset.class_word}
    if prompts is None:  # three captions are taken for the run itself
        prompts = tuple(trainer.dataset.plain_caption(0) for _ in range(3))
    jobs = [(fill_prompt(p, **words), seed) for p in prompts for seed in sampling.seeds]
    batch = jobs[: sampling.batch_size]
    steps = min(SAMPLE_STEPS, sampling.steps)
    pictures: list[Any] = []
    with trainer.showing():
        few = settings.replace(sampling, steps=steps)
        seconds = _timed(lambda: pictures.extend(draw(trainer.family, few, batch)))
    batches = math.ceil(len(jobs) / sampling.batch_size)
    taken.seconds["samples"] = seconds * sampling.steps / steps * batches if jobs else 0.0
    save_pictures(pictures, folder)
    taken.sizes["samples"] = _bytes(folder) * len(jobs) // max(1, len(batch))


def _timed(work: Callable[[], object]) -> float:
    """Seconds of some work, the device's included."""
    _synchronise()
    before = time.perf_counter()
    work()
    _synchronise()
    return time.perf_counter() - before


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    """Bytes at most in use so far: reserved on the GPU, or by the process on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # KiB everywhere else


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
