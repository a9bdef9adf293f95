"""The way that a variant took: what was measured of its weights at each checkpoint, and curves."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from workbench.evaluation import along
from workbench.evaluation.diagnosis import diagnose
from workbench.evaluation.results import Strip
from workbench.records.events import Measured, Progress, Sampled
from workbench.records.log import read

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["COLUMNS", "Course", "Point", "course", "figures"]

COLUMNS = ("step", "loss", "gap", "gradient", "moved", "change", "d", "EMA behind")
_RECENT = 10  # steps that a loss and a gradient norm are taken over


class Point(NamedTuple):
    """Where a run stood when its weights were measured; what it does not have is None."""

    step: int
    loss: float | None  # mean of the last ten steps
    gap: float | None  # stable loss of the training pictures against the base
    gradient: float | None  # median norm of the last ten steps, before clipping
    moved: float  # share of the weights that differ from their first value
    change: float  # largest |dW| / |W| of a block
    d: float | None  # Prodigy's estimate of the rate
    behind: float | None  # share of the way that the moving average lacks

    @property
    def cells(self) -> list[str]:
        """A line of a table, for `COLUMNS`."""

        def said(value: float | None, form: str) -> str:
            return "" if value is None else form.format(value)

        return [
            str(self.step),
            said(self.loss, "{:.4f}"),
            said(self.gap, "{:+.1%}"),
            said(self.gradient, "{:.2g}"),
            f"{self.moved:.1%}",
            f"{self.change:.2g}",
            said(self.d, "{:.2g}"),
            said(self.behind, "{:.0%}"),
        ]


class Course(NamedTuple):
    """How a variant got where it is."""

    name: str
    faults: tuple[tuple[str, str], ...]  # their names, and what they say
    points: tuple[Point, ...]
    strips: tuple[Strip, ...]  # the same prompt and seed, checkpoint by checkpoint


def course(folder: Path, *, num_strips: int = 2) -> Course:
    """Read off how a run went.

    Args:
        folder: the run folder.
        num_strips: prompts that are shown at every checkpoint.
    Returns:
        Its faults, measurements and pictures on the way.
    """
    events = read(folder)
    progress = {event.step: event for event in events if isinstance(event, Progress)}
    gaps = along.gaps(events)
    points = []
    for one in (event for event in events if isinstance(event, Measured) and event.step > 0):
        recent = [progress[k] for k in range(one.step - _RECENT + 1, one.step + 1) if k in progress]
        norms = [event.gradient_norm for event in recent if event.gradient_norm is not None]
        average = one.average
        points.append(
            Point(
                one.step,
                sum(event.loss for event in recent) / len(recent) if recent else None,
                gaps.get(one.step),
                median(norms) if norms else None,
                one.moved,
                max(one.change.values(), default=0.0),
                recent[-1].traces.get("d") if recent else None,
                average.lag / average.distance if average and average.distance else None,
            )
        )
    faults = tuple((fault.id, fault.sentence) for fault in diagnose(folder).faults)
    return Course(folder.name, faults, tuple(points), _strips(folder, num_strips))


def _strips(folder: Path, count: int) -> tuple[Strip, ...]:
    """The first prompts, from the base to the last checkpoint."""
    steps = [e.step for e in read(folder) if isinstance(e, Sampled) and not e.base]
    base = along.pictures_at(folder, base=True)
    every = {step: along.pictures_at(folder, step) for step in dict.fromkeys(steps)}
    found = []
    for prompt, seed in list(base)[: 2 * count : 2] if len(base) > count else list(base):
        cells = [("base", base[prompt, seed])]
        cells += [
            (f"step {step}", shown[prompt, seed])
            for step, shown in every.items()
            if (prompt, seed) in shown
        ]
        found.append(Strip(prompt, seed, tuple(cells)))
    return tuple(found)


def figures(folders: Sequence[Path]) -> dict[str, "Figure"]:
    """Draw the loss and the gradient norm of all variants over one another.

    Args:
        folders: their run folders.
    Returns:
        Title to figure; none of what no run has.
    """
    from workbench.plots.curves import losses

    loss, norms = {}, {}
    for folder in folders:
        progress = [event for event in read(folder) if isinstance(event, Progress)]
        if progress:
            steps = [float(event.step) for event in progress]
            loss[folder.name] = steps, [event.loss for event in progress]
        normed = [e for e in progress if e.gradient_norm is not None]
        if normed:
            steps = [float(event.step) for event in normed]
            norms[folder.name] = steps, [event.gradient_norm or 0.0 for event in normed]
    found = {}
    if loss:
        found["Loss"] = losses(loss)
    if norms:
        found["Gradient norm"] = losses(norms, title="Gradient norm, before clipping", y="norm")
    return found
