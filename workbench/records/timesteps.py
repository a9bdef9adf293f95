"""Which timesteps a run finds hard, from the events of its last steps."""

from collections import defaultdict
from collections.abc import Iterable

from workbench.records.events import Event, Progress, TimestepLoss

__all__ = ["recent"]

STEPS = 100  # enough that ten bins hold some forty samples each at batch size 4


def recent(events: Iterable[Event], *, steps: int = STEPS) -> list[TimestepLoss]:
    """Add up the losses by timestep of the last steps.

    Args:
        events: of a run; those of versions that did not record them count for nothing.
        steps: how many of the latest to take.
    Returns:
        Mean loss and number of samples of each range, from clean to noise; ranges that no sample
        fell into are left out.
    """
    progress = [event for event in events if isinstance(event, Progress)][-steps:]
    totals: dict[tuple[int, int], float] = defaultdict(float)
    samples: dict[tuple[int, int], int] = defaultdict(int)
    for found in (found for event in progress for found in event.timestep_losses):
        totals[found.low, found.high] += found.loss * found.samples
        samples[found.low, found.high] += found.samples
    return [
        TimestepLoss(*span, totals[span] / samples[span], samples[span]) for span in sorted(samples)
    ]
