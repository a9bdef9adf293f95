"""The instruments of a run as a few numbers: what one reads before saying why it does not learn."""

from pathlib import Path

from workbench.records import history
from workbench.records.events import Measured, Progress
from workbench.records.log import read


def instruments(folder: str | Path) -> dict[str, str]:
    """Read off how a run stands.

    Args:
        folder: the run folder.
    Returns:
        Name to value with its unit; what was not measured is left out.
    """
    events = read(folder)
    progress = [event for event in events if isinstance(event, Progress)]
    measured = [event for event in events if isinstance(event, Measured) and event.change]
    found = {"steps": str(progress[-1].step if progress else 0)}
    gap = history.summary(folder).gap
    if gap is not None:
        found["stable loss"] = f"{gap:+.1%}"
    if progress:
        last = progress[-1]
        norms = [event.gradient_norm for event in progress if event.gradient_norm is not None]
        if norms:
            found["gradient norm, first and last"] = f"{norms[0]:.2g}, {norms[-1]:.2g}"
        if last.learning_rates:
            found["rate"] = f"{max(last.learning_rates.values()):.2g}"
        if "d" in last.traces:
            found["d, first and last"] = f"{progress[0].traces['d']:.2g}, {last.traces['d']:.2g}"
    if measured:
        now = measured[-1]
        found["|dW| / |W|"] = f"{max(now.change.values()):.1%} at most"
        if now.updated is not None:
            found["weights that a step changes"] = f"{now.updated:.0%}"
        if now.average is not None and now.average.distance:
            found["average lacks"] = f"{now.average.lag / now.average.distance:.0%} of the way"
    return found
