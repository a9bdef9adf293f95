"""What the samples of a step came to against the base's, in a line."""

from workbench.records.events import Watched


def sentence(event: Watched) -> str:
    """Say a step's numbers, the three of its colours as one.

    Args:
        event: of a run.
    Returns:
        For example "likeness +0.120, leak 0.31, colours L* +1.2 a* -0.3 b* +0.1".
    """
    marks = {mark.name: mark for mark in event.marks}
    told = []
    if "likeness" in marks:
        told.append(f"likeness {marks['likeness'].value:+.3f}")
    if "leak" in marks:
        told.append(f"leak {marks['leak'].value:.2f}")
    axes = [f"{axis} {marks[axis].value:+.1f}" for axis in ("L*", "a*", "b*") if axis in marks]
    return ", ".join([*told, *([f"colours {' '.join(axes)}"] if axes else [])])
