"""What the trainer adds to a training step, and what the cache adds to encoding.

    python benchmarks/step.py [key=value ...]

Claims, as ratios of times taken in turn in one run: a step of the trainer, its events written to
the disk, costs at most 1.05 of a bare loop over the same model, adapter, optimizer and cached
tensors; filling the latent cache with 256 pictures costs at most 1.10 of a bare loop that decodes
and encodes. Flushing a shard is a fixed cost: with 32 pictures the ratio is about 1.15.
Overrides go to the recipe, for example `base.path=... training.precision=bfloat16` on a GPU.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from workbench.critters.draw import world
from workbench.data.augment import fit
from workbench.data.cache import LatentCache
from workbench.data.dataset import Dataset, index
from workbench.data.subsets import Subset
from workbench.models import loading as models
from workbench.models.family import Condition, Family
from workbench.recipe import Recipe
from workbench.settings import replace
from workbench.training.devices import processes
from workbench.training.run import Run
from workbench.training.trainer import Trainer, assemble

ROUNDS, STEPS = 12, 8
CACHE_ROUNDS, NUM_PICTURES = 5, 256
MAX_STEP, MAX_CACHE = 1.05, 1.10
QUIET = (
    "adapter.text_encoder=false",
    "data.captions.shuffle=false",
    "length.steps=100000",
    "training.preservation=0",  # which asks the base too
    "schedule.kind=constant",
    "training.checkpoint_every=100000",
    "validation.every_steps=100000",
    "sampling.prompts=[]",
)


def synchronise() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes, the device's included."""
    synchronise()
    before = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - before


def assembled(recipe: Recipe, folder: Path) -> Trainer:
    """A trainer of its own for the bare loop."""
    generator = assemble(recipe, folder=folder)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def bare_step(trainer: Trainer) -> Callable[[], None]:
    """The same step written out: the model with its adapter, torch's optimizer, tensors at hand."""
    family, recipe = trainer.family, trainer.recipe
    params = list(trainer.trainables.values())
    optimizer = recipe.optimizer.build(recipe.optimizer.groups(trainer.adapter.groups()))
    alphas = trainer.family.process.alphas
    batches = [
        trainer.batches.make(micro, step=0)
        for step in (trainer.loader.step(k) for k in range(trainer.loader.steps_per_epoch))
        for micro in step.micro_batches
    ]
    dtype = getattr(torch, recipe.training.precision)
    count = [0]

    def step() -> None:
        batch = batches[count[0] % len(batches)]
        count[0] += 1
        latents, text = batch.latents, batch.text
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, 1000, (len(latents),), device=latents.device)
        a = alphas[timesteps][:, None, None, None]
        noisy = a.sqrt() * latents + (1 - a).sqrt() * noise
        with torch.autocast(latents.device.type, dtype, enabled=dtype != torch.float32):
            condition = Condition(text or {}, batch.sizes, batch.beside)
            predicted = family.denoise(noisy, timesteps, condition)
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()

    return step


def step_ratio(recipe: Recipe, folder: Path) -> tuple[float, float, float]:
    """Median over rounds of trainer against bare loop, and the seconds of a step of each."""
    events = Run(recipe, folder).train()

    def ours() -> None:
        told = 0
        while told < STEPS:
            told += next(events).event == "progress"

    ours()
    other = assembled(recipe, folder)
    for module in other.adapter.modules.values():
        module.train()
    bare = bare_step(other)
    for _ in range(STEPS):
        bare()
    pairs = [(timed(ours), timed(lambda: [bare() for _ in range(STEPS)])) for _ in range(ROUNDS)]
    events.close()
    ratio = statistics.median(a / b for a, b in pairs)
    return ratio, *(statistics.median(side) / STEPS for side in zip(*pairs, strict=True))


def encode_bare(dataset: Dataset, family: Family, batch_size: int) -> None:
    """Decode, resize and encode bucket by bucket, and keep the result in memory."""
    groups: dict[Any, list[int]] = {}
    for number, placement in enumerate(dataset.placements):
        groups.setdefault(placement.bucket, []).append(number)
    kept = []
    with torch.no_grad():
        for members in groups.values():
            for start in range(0, len(members), batch_size):
                pictures = [
                    fit(dataset.open(dataset.records[i]), dataset.placements[i], flipped=False)
                    for i in members[start : start + batch_size]
                ]
                kept += family.codec.encode(torch.stack(pictures).to(family.device))


def pictures(folder: Path) -> Dataset:
    """As many pictures as a LoRA is often trained on, drawn into a folder."""
    folder.mkdir()
    for number in range(NUM_PICTURES):
        image, caption = world(0, number)
        image.save(folder / f"{number:04d}.png")
        (folder / f"{number:04d}.txt").write_text(caption)
    recipe = Recipe.preset("critters")
    return index(replace(recipe.data, subsets=(Subset(path=str(folder)),)))


def cache_ratio(family: Family, folder: Path) -> float:
    """Median over rounds of filling the cache against the bare loop."""
    dataset = pictures(folder / "pictures")

    def cached(number: int) -> None:
        cache = LatentCache(dataset, folder=folder / str(number), key=family.codec.key)
        for _ in cache.build(lambda pixels: family.codec.encode(pixels.to(family.device))):
            pass

    batch_size = dataset.settings.cache.vae_batch_size
    encode_bare(dataset, family, batch_size)
    rounds = [
        timed(lambda n=n: cached(n)) / timed(lambda: encode_bare(dataset, family, batch_size))
        for n in range(CACHE_ROUNDS)
    ]
    return statistics.median(rounds)


def main() -> None:
    """Measure both and say whether the claims hold."""
    recipe = Recipe.preset("critters").override([*QUIET, *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as name:
        ratio, ours_s, bare_s = step_ratio(recipe, Path(name) / "run")
        caching = cache_ratio(models.load(recipe.base, device=processes().device), Path(name))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"on {device}, {torch.get_num_threads()} threads, {recipe.training.precision}")
    print(f"step: {1000 * ours_s:.1f} ms, bare loop {1000 * bare_s:.1f} ms")
    results = (("step / bare loop", ratio, MAX_STEP), ("caching / bare loop", caching, MAX_CACHE))
    for title, value, limit in results:
        print(f"{title}: {value:.3f}; at most {limit}: {'holds' if value <= limit else 'FAILS'}")
    sys.exit(any(value > limit for _, value, limit in results))


if __name__ == "__main__":
    main()
