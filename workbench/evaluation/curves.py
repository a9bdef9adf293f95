"""From a run's events to its figures."""

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from workbench.plots import curves
from workbench.plots.timesteps import recent_losses
from workbench.records.events import Event, Measured, Progress, Validated, Watched
from workbench.records.timesteps import STEPS, recent

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Draws one figure; what is not asked for costs nothing.
Drawer = Callable[[], "Figure"]
SPLIT_NAMES = {"train": "train", "held_out": "held out"}


def figures(events: Sequence[Event], *, only: Collection[str] | None = None) -> dict[str, "Figure"]:
    """Draw every curve that the events hold numbers for.

    Args:
        events: the run's events.
        only: names of the wanted figures; None draws all.
    Returns:
        Name to figure, the most telling first: "stable_loss", "timesteps", "loss",
        "recent_timesteps", "rates", "gradient_norm", one for each further trace, "weight_change",
        "weight_change_by_step", "ema_lag", "watched" and "watched_colours".
    """
    drawers = _drawers(events)
    return {name: draw() for name, draw in drawers.items() if only is None or name in only}


def names(events: Sequence[Event]) -> tuple[str, ...]:
    """Say which figures the events hold numbers for, without drawing any.

    Args:
        events: the run's events.
    Returns:
        Names, as `figures` takes them.
    """
    return tuple(_drawers(events))


def _drawers(events: Sequence[Event]) -> dict[str, Drawer]:
    progress = [event for event in events if isinstance(event, Progress)]
    measured = [event for event in events if isinstance(event, Measured) and event.change]
    return (
        _validation_figures(events)
        | (_progress_figures(progress) if progress else {})
        | (_movement_figures(measured) if measured else {})
        | _watched_figures([event for event in events if isinstance(event, Watched)])
    )


def _watched_figures(watched: Sequence[Watched]) -> dict[str, Drawer]:
    """How samples along the way compared with the base's."""
    marks = {(mark.name, one.step): mark.value for one in watched for mark in one.marks}
    steps = [one.step for one in watched]

    def rows(names: Sequence[str]) -> dict[str, list[float]]:
        every = {name: [marks.get((name, step), math.nan) for step in steps] for name in names}
        return {name: row for name, row in every.items() if not all(map(math.isnan, row))}

    drawn: dict[str, Drawer] = {}
    if shares := rows(("likeness", "leak")):
        title = "Likeness and leak along the way"
        y = "likeness as a change, leak as a share"
        drawn["watched"] = partial(curves.lines, steps, shares, title=title, y=y)
    if colours := rows(("L*", "a*", "b*")):
        title, y = "Colours along the way", "change against the base"
        drawn["watched_colours"] = partial(curves.lines, steps, colours, title=title, y=y)
    return drawn


def _validation_figures(events: Sequence[Event]) -> dict[str, Drawer]:
    found: dict[str, list[Validated]] = {}
    for event in events:
        if isinstance(event, Validated) and event.base_loss:
            found.setdefault(SPLIT_NAMES[event.split], []).append(event)
    if not found:
        return {}
    series = {
        name: ([e.step for e in measured], [e.loss for e in measured], measured[-1].base_loss)
        for name, measured in found.items()
    }
    last = {name: measured[-1] for name, measured in found.items()}
    bins = {name: (e.bin_losses, e.base_bin_losses) for name, e in last.items()}
    edges = next(iter(last.values())).timestep_edges
    drawn: dict[str, Drawer] = {"stable_loss": partial(curves.stable_loss, series)}
    if all(losses and base for losses, base in bins.values()):
        drawn["timesteps"] = partial(curves.loss_by_timestep, edges, bins)
    return drawn


def _progress_figures(progress: Sequence[Progress]) -> dict[str, Drawer]:
    drawn: dict[str, Drawer] = {"loss": partial(_loss, progress)}
    if any(event.timestep_losses for event in progress[-STEPS:]):
        drawn["recent_timesteps"] = partial(_recent, progress)
    if progress[-1].learning_rates:
        drawn["rates"] = partial(_rates, progress)
    if any(event.gradient_norm is not None for event in progress):
        drawn["gradient_norm"] = partial(_gradient_norm, progress)
    return drawn | {name: partial(_trace, name, progress) for name in progress[-1].traces}


def _loss(progress: Sequence[Progress]) -> "Figure":
    return curves.loss([event.step for event in progress], [event.loss for event in progress])


def _recent(progress: Sequence[Progress]) -> "Figure":
    found = recent(progress)
    spans = [(low, high) for low, high, _, _ in found]
    return recent_losses(spans, [one.loss for one in found], [one.samples for one in found])


def _rates(progress: Sequence[Progress]) -> "Figure":
    groups, nan = progress[-1].learning_rates, float("nan")
    rates = {name: [e.learning_rates.get(name, nan) for e in progress] for name in groups}
    return curves.rates([event.step for event in progress], rates)


def _gradient_norm(progress: Sequence[Progress]) -> "Figure":
    norms = [(e.step, e.gradient_norm) for e in progress if e.gradient_norm is not None]
    return curves.gradient_norm(*zip(*norms, strict=True))


def _trace(name: str, progress: Sequence[Progress]) -> "Figure":
    points = [(event.step, event.traces[name]) for event in progress if name in event.traces]
    x, y = zip(*points, strict=True)
    # A step size that is found on the way, such as Prodigy's d, grows through decades.
    decades = min(y) > 0 and max(y) > 100 * min(y)
    return curves.lines(x, {name: y}, title=name, y=name, log_y=decades)


def _movement_figures(measured: Sequence[Measured]) -> dict[str, Drawer]:
    """How far the weights have come: by block now, by block over the steps, and their average."""
    drawn: dict[str, Drawer] = {"weight_change": partial(curves.weight_change, measured[-1].change)}
    if len(measured) > 1:
        drawn["weight_change_by_step"] = partial(_weight_change_by_step, measured)
    if sum(map(_moved, measured)) > 1:
        drawn["ema_lag"] = partial(_ema_lag, measured)
    return drawn


def _weight_change_by_step(measured: Sequence[Measured]) -> "Figure":
    steps, nan = [event.step for event in measured], float("nan")
    changes = {
        block: [event.change.get(block, nan) for event in measured] for block in measured[-1].change
    }
    title = "How far the weights moved, by step"
    return curves.lines(steps, changes, title=title, y="|dW| / |W|")


def _ema_lag(measured: Sequence[Measured]) -> "Figure":
    lags = [(e.step, e.average.lag / e.average.distance) for e in measured if _moved(e)]  # type: ignore[union-attr]
    x, y = zip(*lags, strict=True)
    title = "Share of the way that the moving average lacks"
    return curves.lines(x, {"lag": y}, title=title, y="|EMA - raw| / |raw - start|")


def _moved(event: Measured) -> bool:
    return event.average is not None and event.average.distance > 0
