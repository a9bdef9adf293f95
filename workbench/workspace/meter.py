"""What a run costs on a machine that is paid by the hour: so far, and until its end."""

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.records.events import Event, Failed, Finished, Progress


@dataclass(frozen=True, slots=True)
class Cost:
    """Money, in the unit of the price.

    Attributes:
        so_far: for the time in which the run's processes have lived, resumes included.
        expected: at its end, samples and report not counted; None while that is unknown.
        per_hour: the price.
    """

    so_far: float
    expected: float | None
    per_hour: float


def cost(events: Sequence[Event], price_per_hour: float) -> Cost:
    """Add up what a run costs.

    Args:
        events: the run's, in order; none cost nothing.
        price_per_hour: of the machine, >= 0.
    Returns:
        The cost as of the latest event.
    """
    elapsed_s = events[-1].elapsed_s if events else 0.0
    latest = next(
        (e for e in reversed(events) if isinstance(e, Progress | Finished | Failed)), None
    )
    left_s = latest.eta_s if isinstance(latest, Progress) else None
    if isinstance(latest, Finished | Failed):
        left_s = 0.0
    expected = None if left_s is None else (elapsed_s + left_s) * price_per_hour / 3600
    return Cost(elapsed_s * price_per_hour / 3600, expected, price_per_hour)
