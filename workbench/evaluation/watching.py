"""The samples along the way against the base's: likeness, leak and colours, before it is too late.

A number is warned of where chance does not explain it: likeness lies below its best step so far,
the leak above its threshold, the mean colour off zero by more than can be overlooked.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from workbench.evaluation.along import Shot, pictures_at
from workbench.evaluation.compare import leak_of
from workbench.evaluation.drift import AXES, moves
from workbench.evaluation.features import Features, at_hand, remembering
from workbench.evaluation.leaks import CALIBRATED_FOR, NO_REACH, THRESHOLD
from workbench.evaluation.loading import from_run
from workbench.evaluation.results import Leak, Pair
from workbench.evaluation.statistics import LEVEL, MIN_PROMPTS, estimate, t_quantile, unit_means
from workbench.evaluation.study import COLOUR_MARGIN
from workbench.evaluation.verdict import concept_pictures
from workbench.records.events import Event, Mark, Sampled, Warned, Watched
from workbench.records.log import read_milestones
from workbench.records.sampling import Interrupted, interruptible, without_trigger

if TYPE_CHECKING:
    from workbench.training.run import Run

FIXES: Mapping[str, str] = {
    "likeness": "take an earlier file; lower the rate, or stop earlier",
    "leak": "set training.preservation=0.4, or add prior pictures; take an earlier file",
    "colours": "take an earlier file; lower the rate, and look at the pictures' own colours",
}


class Watcher:
    """Compares each set of samples of one run with the base's, as an observer of the run."""

    def __init__(self) -> None:
        self._known: Sequence[Image.Image] | None = None
        self._features: Features | None = None

    def __call__(self, run: "Run", event: Event) -> Iterator[Event]:
        """Answer the samples of a step before the last.

        Args:
            run: whose model is in memory.
            event: any.
        Yields:
            `Watched`, and a `Warned` for each number that chance does not explain.
        """
        settings = run.recipe.validation
        if not (settings.watch and isinstance(event, Sampled)) or event.base:
            return
        if event.step == run.trainer.total_steps:
            return  # the report is about to say all this, and more
        base = pictures_at(run.folder, base=True)
        shown = pictures_at(run.folder, event.step)
        try:
            with interruptible(run.trainer.family, lambda: run.asked == "terminated"):
                marks = self._marks(run, base, shown)
        except Interrupted:
            return
        earlier = [one for one in read_milestones(run.folder) if isinstance(one, Watched)]
        base_name = run.recipe.base.path
        told = dict(alarms(marks, earlier, calibrated=base_name == CALIBRATED_FOR))
        if marks:
            yield Watched(step=event.step, marks=marks, alarms=tuple(told))
        for name, message in told.items():
            yield Warned(
                id=f"watched-{name}", message=message, fix=FIXES[name], step=event.step
            )  # fmt: skip
        stopping = [name for name in told if name in settings.stop_on]
        if stopping:
            run.stop(because=f"validation.stop_on = {stopping[0]!r}: {told[stopping[0]]}")

    def _marks(
        self, run: "Run", base: Mapping[Shot, Image.Image], shown: Mapping[Shot, Image.Image]
    ) -> tuple[Mark, ...]:
        subset = run.recipe.data.subsets[0]
        words = {"trigger": subset.trigger, "class_word": subset.class_word}
        pairs = [
            Pair(*shot, base=base[shot], trained=image)
            for shot, image in shown.items()
            if shot in base
        ]
        plain = [
            p for p in pairs if subset.trigger and without_trigger(p.prompt, **words) == p.prompt
        ]
        called = [pair for pair in pairs if pair not in plain]
        found = [*self._likeness(run, called), *_colours(plain or pairs)]
        if subset.trigger and run.trainer.adapter.keeps_base:
            found += _leak(run)
        return tuple(found)

    def _likeness(self, run: "Run", pairs: Sequence[Pair]) -> list[Mark]:
        if self._features is None or self._known is None:
            self._features = remembering(at_hand(run.recipe.base.path))
            dataset = run.trainer.dataset
            self._known = () if dataset.is_drawn else concept_pictures(dataset)
        if not (pairs and self._known and self._features.judges):
            return []
        known = self._features.pictures(self._known)
        before = self._features.pictures([pair.base for pair in pairs])
        after = self._features.pictures([pair.trained for pair in pairs])
        change = ((after - before) @ known.T).mean(axis=1)
        return [_mark("likeness", [pair.prompt for pair in pairs], change)]


def _colours(pairs: Sequence[Pair]) -> list[Mark]:
    if not pairs:
        return []
    changes = moves(pairs)
    prompts = [pair.prompt for pair in pairs]
    return [_mark(axis[:2], prompts, changes[:, k]) for k, axis in enumerate(AXES)]


def _leak(run: "Run") -> list[Mark]:
    with run.trainer.showing():
        found = leak_of(from_run(run), run.trainer.dataset, unrelated=False)
    if not isinstance(found, Leak) or np.mean(found.reach) < NO_REACH:
        return []
    one = estimate(found.values)
    return [Mark("leak", one.mean, one.low, one.high, one.n)]


def _mark(name: str, prompts: Sequence[str], change: np.ndarray) -> Mark:
    one = estimate(unit_means(prompts, change))
    return Mark(name, one.mean, one.low, one.high, one.n)


def alarms(
    marks: Sequence[Mark], earlier: Sequence[Watched], *, calibrated: bool
) -> Iterator[tuple[str, str]]:
    """Say which numbers left what chance explains.

    Args:
        marks: of this step.
        earlier: of the steps before.
        calibrated: the leak's threshold was set for this base.
    Yields:
        "likeness", "leak" or "colours", and a sentence.
    """
    now = {mark.name: mark for mark in marks}
    likeness, leak = now.get("likeness"), now.get("leak")
    before = [(mark, one.step) for one in earlier for mark in one.marks if mark.name == "likeness"]
    if likeness and before and likeness.n >= MIN_PROMPTS:
        best, step = max(before, key=lambda one: one[0].value)
        if likeness.high < best.low:
            yield (
                "likeness",
                f"likeness fell from {best.value:+.3f} at step {step} to {likeness.value:+.3f}",
            )
    if leak and calibrated and leak.low > THRESHOLD:
        yield (
            "leak",
            f"{leak.value:.2f} of what the trigger changes is there without it, above "
            f"{THRESHOLD:.2f}: the concept leaks",
        )
    axes = [now[axis[:2]] for axis in AXES if axis[:2] in now]
    off = [mark for mark in axes if _is_off(mark)]
    if off and axes[0].n >= MIN_PROMPTS:
        said = ", ".join(f"{mark.name} by {mark.value:+.1f}" for mark in off)
        yield "colours", f"pictures that do not ask for the concept change colour: {said}"


def _is_off(mark: Mark) -> bool:
    """Bonferroni over three axes: each interval at 95 % is widened to 98.3 %."""
    if mark.n < 2:
        return False
    wider = t_quantile(1 - LEVEL / 6, mark.n - 1) / t_quantile(1 - LEVEL / 2, mark.n - 1)
    half = (mark.high - mark.low) / 2 * wider
    return abs(mark.value) > COLOUR_MARGIN and abs(mark.value) > half
