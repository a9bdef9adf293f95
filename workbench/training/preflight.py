"""What a run will need on this machine, measured: memory, time, disk; and what fits if it does not.

`trial` measures; here the figures are scaled up to the whole run.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch

from workbench import store
from workbench.models.defaults import Machine
from workbench.models.loading import defaults
from workbench.recipe import Recipe
from workbench.records.events import Preparing
from workbench.training.trial import Load, Trial, attempt, heaviest

_REPORT_BYTES = 4 << 20


@dataclass(frozen=True)
class Preflight:
    """What a run will need.

    Attributes:
        device: its name.
        recipe: what was measured.
        load: its heaviest step.
        trial: what that took.
        total_bytes: memory of the device.
        free_bytes: space on the disk of the run folder.
        remedy: settings with which it fits, where it does not fit as it is; None where it does.
        remedied: what those took; None where nothing tried was enough.
    """

    device: str
    recipe: Recipe
    load: Load
    trial: Trial
    total_bytes: int
    free_bytes: int
    remedy: tuple[str, ...] | None = None
    remedied: Trial | None = None

    @property
    def fits(self) -> bool:
        """Whether the recipe runs as it is."""
        return not self.trial.failed

    @property
    def times_s(self) -> dict[str, float]:
        """Seconds of the whole run by stage, at most: every step is taken for the heaviest."""
        recipe, spent, steps = self.recipe, self.trial.seconds, self.load.total_steps
        if steps is None:
            return {"training": 60 * (recipe.length.minutes or 0.0)}
        times = _times(recipe, steps)
        return {
            "caching": spent["caching"] * self.load.num_pictures,
            "training": steps * self.trial.step_s,
            "validation": (1 + times["validation"]) * spent["validation"],
            "samples": (1 + times["samples"]) * spent["samples"],
            "saving": times["checkpoints"] * spent["saving"],
        }

    @property
    def disk_bytes(self) -> dict[str, int]:
        """Bytes on the disk by what they are for."""
        recipe, sizes = self.recipe, self.trial.sizes
        times = _times(recipe, self.load.total_steps or 0)
        kept = min(times["checkpoints"], recipe.training.keep_checkpoints) + 1  # one being written
        return {
            "checkpoints": kept * sizes["checkpoint"],
            "LoRA files": (1 + times["loras"]) * sizes["lora"],
            "samples": (1 + times["samples"]) * sizes["samples"],
            "caches": self.load.num_pictures * sizes["cached"],
            "report": _REPORT_BYTES if recipe.output.report else 0,
        }

    def cost(self, price_per_hour: float) -> float:
        """What the run will cost.

        Args:
            price_per_hour: of the machine, in any currency.
        Returns:
            In the same currency.
        """
        return sum(self.times_s.values()) / 3600 * price_per_hour


def preflight(recipe: Recipe) -> Generator[Preparing, None, Preflight]:
    """Measure what a run will need, and where it does not fit, what would.

    Args:
        recipe: what is to run.
    Yields:
        What is being done.
    Returns:
        The figures.
    Raises:
        SettingsError, FileRefused: the recipe, the base or the data cannot be used.
        NotFinite: the very first step fails.
    """
    yield Preparing(stage="reading images", done=0, total=1)
    load = heaviest(recipe)
    trial = yield from attempt(recipe, load)
    remedy: tuple[str, ...] | None = None
    remedied: Trial | None = None
    if trial.failed:
        remedy = ()
        for changes in _remedies(recipe):
            yield Preparing(stage=f"trying {' '.join(changes)}", done=0, total=1)
            changed = recipe.override(changes)
            found = yield from attempt(changed, heaviest(changed))
            if not found.failed:
                remedy, remedied = changes, found
                break
    return Preflight(
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        recipe=recipe,
        load=load,
        trial=trial,
        total_bytes=_total_bytes(),
        free_bytes=store.free_bytes(recipe.output.folder),
        remedy=remedy,
        remedied=remedied,
    )


def _times(recipe: Recipe, steps: int) -> dict[str, int]:
    """How often a run of so many steps saves, measures and samples."""
    fifth, tenth = max(1, math.ceil(steps / 5)), max(1, math.ceil(steps / 10))

    def count(every: int | None) -> int:
        return 0 if every is None else steps // every

    return {
        "checkpoints": max(1, count(recipe.training.checkpoint_every or fifth)),
        "validation": max(1, count(recipe.validation.every_steps or tenth)),
        "samples": 1 + sum(recipe.sampling.due(step, steps) for step in range(1, steps)),
        "loras": count(recipe.training.lora_every),
    }


def _remedies(recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """Changes to try, each on top of those before, the ones that change the result least first."""
    now, changes = recipe, ()
    for more in (
        ("base.gradient_checkpointing=true",),
        _half(recipe),
        *_smaller_batches(recipe),
        ("optimizer.kind=adamw8bit",) if recipe.optimizer.kind == "adamw" else (),
    ):
        if not more or now.override(more) == now:
            continue
        now, changes = now.override(more), _latest((*changes, *more))
        yield changes


def _half(recipe: Recipe) -> tuple[str, ...]:
    """The type of 16 bits that base and GPU compute in; none on a CPU, and for a small base."""
    machine = Machine.here()
    advised = defaults(recipe.base, machine) if machine.cuda else ()
    names = ("base.dtype", "training.precision", "training.trainable_dtype")
    chosen = tuple(one for one in advised if one.setting in names)
    if all(one.value == "float32" for one in chosen):
        return ()
    return tuple(one.assignment for one in chosen)


def _smaller_batches(recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """The same step in smaller and smaller pieces."""
    size, images = recipe.training.batch_size, recipe.training.batch_size
    images *= recipe.training.accumulation
    while size > 1:
        size //= 2
        yield (f"training.batch_size={size}", f"training.accumulation={-(-images // size)}")


def _latest(changes: Sequence[str]) -> tuple[str, ...]:
    """Of several changes of one setting the last."""
    return tuple({change.partition("=")[0]: change for change in changes}.values())


def _total_bytes() -> int:
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    import psutil

    return psutil.virtual_memory().total
