"""What can be wrong with a run, each with a name, recognised from its events alone.

A detector reads what was seen of a run and gives a fault or None. The grave ones explain a run that
learns nothing; the others are said beside whatever it learned.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbench.evaluation.copying import copy_limit, usual
from workbench.evaluation.results import Fault
from workbench.records.events import (
    Event,
    Failed,
    Finished,
    Likeness,
    Measured,
    Progress,
    Resumed,
    Started,
)

# So many steps must have been seen before something that has not moved counts as stuck.
PATIENCE = 10
_SLEEPING = 1e-3  # of its peak: a rate below this trains nothing
_MOST_LOST = 0.1  # a step that changes a smaller share of the weights is lost in rounding
_HIDDEN = 0.3  # of the way that the weights have come, missing from their average
_EXPLODED = 50.0  # times the early median: a gradient that has run away


@dataclass(frozen=True)
class Seen:
    """A run as its folder tells it.

    Attributes:
        events: in order, those that a resume took back left out.
        recipe: its settings as plain data; empty where they are not known.
    """

    events: Sequence[Event]
    recipe: Mapping[str, Any]

    @cached_property
    def progress(self) -> list[Progress]:
        """Its steps."""
        return [event for event in self.events if isinstance(event, Progress)]

    @cached_property
    def measured(self) -> list[Measured]:
        """How far the weights had come, at each measurement."""
        return [event for event in self.events if isinstance(event, Measured)]

    @cached_property
    def failed(self) -> Failed | None:
        """The error that it ended in; None where it went on or ended well."""
        decisive = (Started, Progress, Resumed, Finished, Failed)
        last = next((e for e in reversed(self.events) if isinstance(e, decisive)), None)
        return last if isinstance(last, Failed) else None

    @property
    def total_steps(self) -> int:
        """Steps planned, or done where the length is a time."""
        planned = [e.total_steps for e in self.events if isinstance(e, Started | Resumed)]
        return (planned[-1] if planned else 0) or (self.progress[-1].step if self.progress else 0)

    def rate(self, step: int) -> float:
        """The highest learning rate that a step was taken with; 0 where it is not known."""
        rates = self._rates.get(step, {})
        return max(rates.values(), default=0.0)

    @cached_property
    def _rates(self) -> dict[int, dict[str, float]]:
        return {event.step: event.learning_rates for event in self.progress}

    def setting(self, path: str, default: Any = None) -> Any:
        """A setting of the recipe by its dotted path."""
        found: Any = self.recipe
        for name in path.split("."):
            found = found.get(name, {}) if isinstance(found, Mapping) else {}
        return default if found == {} else found


Detector = Callable[[Seen], Fault | None]


def find(seen: Seen) -> list[Fault]:
    """Look for every fault.

    Args:
        seen: the run.
    Returns:
        Faults, the most telling first.
    """
    return [fault for detect in DETECTORS if (fault := detect(seen)) is not None]


def _failure(seen: Seen) -> Fault | None:
    failed = seen.failed
    if failed is None:
        return None
    names = {
        "nan-latent": ("nan_latent", "a cached latent is NaN or infinite"),
        "not-finite": ("not_finite", "the loss or its gradient became NaN or infinite"),
        "out-of-memory": ("out_of_memory", "the device ran out of memory"),
    }
    name, sentence = names.get(failed.cause, ("failed", failed.error))
    norms = [e.gradient_norm for e in seen.progress if e.gradient_norm is not None]
    evidence = [failed.error] if name != "failed" else []
    if name == "not_finite" and norms:
        evidence.append(
            f"The last gradient norms were {', '.join(f'{x:.3g}' for x in norms[-5:])}."
        )
    return Fault(name, sentence, failed.fix, tuple(evidence), grave=True)


def _no_gradient(seen: Seen) -> Fault | None:
    norms = [event.gradient_norm for event in seen.progress if event.gradient_norm is not None]
    last = norms[-2 * PATIENCE :]
    if len(last) < PATIENCE or any(last):
        return None
    return Fault(
        "no_gradient",
        "every gradient is zero, so nothing tells the weights where to go",
        "look at adapter.groups, at masks that hide everything, and at weightings that are zero",
        (f"The gradient norm was exactly 0 in the last {len(last)} steps.",),
        grave=True,
    )


def _rate_zero(seen: Seen) -> Fault | None:
    rates = [seen.rate(event.step) for event in seen.progress if event.learning_rates]
    peak = max(rates, default=0.0)
    asleep = sum(rate <= _SLEEPING * peak for rate in rates)
    if len(rates) < 3 or asleep < len(rates) / 2:
        return None
    kind, warmup = seen.setting("schedule.kind", "?"), seen.setting("schedule.warmup", 0)
    how = "was 0" if peak == 0 else f"was below a thousandth of its peak of {peak:.2g}"
    return Fault(
        "rate_zero",
        f"the schedule holds the learning rate at zero in {asleep} of {len(rates)} steps",
        "set schedule.kind=constant, and a schedule.warmup that is a small share of the run",
        (
            f"In {asleep} of {len(rates)} steps the learning rate {how} "
            f"(schedule.kind={kind}, warmup={warmup:g}).",
        ),
        grave=True,
    )


def _d_stuck(seen: Seen) -> Fault | None:
    kind = seen.setting("optimizer.kind", "prodigy")
    peak = max((seen.rate(event.step) for event in seen.progress), default=0.0)
    rate = seen.setting("optimizer.learning_rate", peak)
    # During a warm-up d stands still on purpose.
    found = [e for e in seen.progress if "d" in e.traces and seen.rate(e.step) >= rate / 2]
    if len(found) < PATIENCE:
        return None
    first, last = found[0].traces["d"], found[-1].traces["d"]
    start = seen.setting("optimizer.d0", first)
    if last > 1.001 * max(first, start) or first > 1.001 * start:
        return None
    dtype = seen.measured[-1].dtype if seen.measured else "float32"
    fix = "set optimizer.d0=1e-4"
    if dtype != "float32":
        fix = "keep the weights that learn in float32 (training.trainable_dtype), or " + fix
    elif rate < 0.1:
        fix = "set optimizer.learning_rate=1"
    return Fault(
        "d_stuck",
        f"{kind}'s estimate d of the rate has never left d0, so the weights hardly move",
        fix,
        (
            f"After {len(found)} steps past the warm-up d is still {last:.2g}; the weights that "
            f"learn are {dtype}.",
        ),
        grave=True,
    )


def _updates_lost(seen: Seen) -> Fault | None:
    watched = [e for e in seen.measured if e.updated is not None and seen.rate(e.step) > 0]
    if not watched or (share := watched[-1].updated or 0.0) >= _MOST_LOST:
        return None
    if watched[-1].dtype != "float32" and seen.setting("training.stochastic_rounding", False):
        return None  # few weights move in each step, and on average all arrive
    norms = {event.step: event.gradient_norm for event in seen.progress}
    last = watched[-1]
    if not norms.get(last.step):
        return None  # without a gradient there is no update to lose
    return Fault(
        "updates_lost",
        f"the updates are smaller than half the precision of {last.dtype} and are rounded away",
        "keep the weights that learn in float32 (training.trainable_dtype), or set "
        "training.stochastic_rounding=true",
        (
            f"Step {last.step} changed {share:.1%} of the weights; the next number that "
            f"{last.dtype} holds is {last.spacing:.1e} away.",
        ),
        grave=True,
    )


def _untouched(seen: Seen) -> Fault | None:
    steps = [e for e in seen.measured if e.step >= 2 and e.num_layers]
    if not steps or not (last := steps[-1]).num_unchanged:
        return None
    every = last.num_unchanged == last.num_layers
    if not every and last.num_unchanged < last.num_layers / 2:
        return None
    return Fault(
        "unchanged",
        "no layer has changed at all: dW is exactly zero, as a LoRA's B is at the start"
        if every
        else "most layers have not changed at all",
        "raise optimizer.learning_rate, and see that adapter.groups names layers that act",
        (f"dW is zero in {last.num_unchanged} of {last.num_layers} layers at step {last.step}.",),
        grave=every,
    )


def _exploding(seen: Seen) -> Fault | None:
    norms = [e.gradient_norm for e in seen.progress if e.gradient_norm and e.gradient_norm > 0]
    if len(norms) < 2 * PATIENCE:
        return None
    early = statistics.median(norms[: max(PATIENCE, len(norms) // 4)])
    late = statistics.median(norms[-PATIENCE:])
    if not late > _EXPLODED * early:
        return None
    return Fault(
        "exploding",
        "the gradients have run away",
        "lower optimizer.learning_rate to a third, and keep training.gradient_clip at 1",
        (f"The gradient norm rose from {early:.3g} to {late:.3g}.",),
        grave=True,
    )


def _ema_hides(seen: Seen) -> Fault | None:
    average = seen.measured[-1].average if seen.measured else None
    if average is None or not average.distance or average.lag < _HIDDEN * average.distance:
        return None
    share = average.lag / average.distance
    suits = max(0.0, 1 - 10 / max(seen.total_steps, 11))
    return Fault(
        "ema_hides",
        f"the moving average, which is what is saved and sampled, lacks {share:.0%} of the way",
        f"set ema.decay={suits:.3g}, or leave `ema` out",
        (
            f"The average lies {average.lag:.3g} from the weights, which have come "
            f"{average.distance:.3g}; its memory is {average.decay:.4g}, "
            f"{_half_life(average.decay)}.",
        ),
        grave=share > 0.7,
    )


def _ema_unreachable(seen: Seen) -> Fault | None:
    average = seen.measured[-1].average if seen.measured else None
    if average is None or average.full_after <= seen.total_steps:
        return None
    suits = max(0.0, 1 - 10 / max(seen.total_steps, 11))
    return Fault(
        "ema_unreachable",
        f"ema.decay={average.full_decay:g} never takes effect: it is reached after "
        f"{average.full_after:,} steps and the run has {seen.total_steps:,}",
        f"set ema.decay={suits:.3g}, or leave `ema` out",
        (
            f"The average's memory is {average.decay:.4g} by now, {_half_life(average.decay)}; "
            f"{average.full_decay:g} would be {_half_life(average.full_decay)}.",
        ),
    )


def _overflows(seen: Seen) -> Fault | None:
    if not seen.progress:
        return None
    count, steps = seen.progress[-1].traces.get("overflows", 0), len(seen.progress)
    if count < 5 or count < 0.1 * steps:
        return None
    return Fault(
        "overflows",
        f"float16 overflowed in {count:.0f} of {steps} steps, which were skipped",
        "set training.precision=bfloat16 where the GPU has it, else float32",
    )


def _copying(seen: Seen) -> Fault | None:
    found = [event for event in seen.events if isinstance(event, Likeness)]
    if not found or not found[-1].pictures or len(found[-1].among_training) < 2:
        return None
    last = found[-1]
    copies = [p for p in last.pictures if p.similarity >= copy_limit(last.among_training)]
    if not copies:
        return None
    nearest = max(copies, key=lambda picture: picture.similarity)
    return Fault(
        "copying",
        f"{len(copies)} of {len(last.pictures)} samples are nearly training pictures",
        "train shorter, take a lower adapter.rank, or add pictures",
        (
            f"{nearest.path} is {nearest.similarity:.3f} alike to {nearest.nearest} "
            f"({last.features}); training pictures are up to {usual(last.among_training):.3f} "
            "alike among themselves.",
        ),
    )


def _half_life(decay: float) -> str:
    """What a memory means: after so many steps half of the old is left."""
    if decay <= 0:
        return "no memory"
    return f"a half-life of {math.log(0.5) / math.log(decay):,.1f} steps"


# The cause before its symptoms: the first one is the one that is named.
DETECTORS: tuple[Detector, ...] = (
    _failure,
    _rate_zero,
    _no_gradient,
    _d_stuck,
    _updates_lost,
    _untouched,
    _exploding,
    _ema_hides,
    _ema_unreachable,
    _overflows,
    _copying,
)
