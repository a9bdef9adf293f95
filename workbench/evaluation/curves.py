"""From a run's events to its figures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.plots import curves
from workbench.plots.timesteps import recent_losses
from workbench.records.events import Event, Measured, Progress, Validated
from workbench.records.timesteps import recent

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SPLIT_NAMES = {"train": "train", "held_out": "held out"}


def figures(events: Sequence[Event]) -> dict[str, "Figure"]:
    """Draw every curve that the events hold numbers for.

    Args:
        events: the run's events.
    Returns:
        Name to figure, the most telling first: "stable_loss", "timesteps", "loss",
        "recent_timesteps", "rates", "gradient_norm", one for each further trace, "weight_change",
        "weight_change_by_step" and "ema_lag".
    """
    progress = [event for event in events if isinstance(event, Progress)]
    measured = [event for event in events if isinstance(event, Measured) and event.change]
    return (
        _validation_figures(events)
        | (_progress_figures(progress) if progress else {})
        | (_movement_figures(measured) if measured else {})
    )


def _validation_figures(events: Sequence[Event]) -> dict[str, "Figure"]:
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
    drawn = {"stable_loss": curves.stable_loss(series)}
    if all(losses and base for losses, base in bins.values()):
        drawn["timesteps"] = curves.loss_by_timestep(edges, bins)
    return drawn


def _progress_figures(progress: Sequence[Progress]) -> dict[str, "Figure"]:
    steps = [event.step for event in progress]
    drawn = {"loss": curves.loss(steps, [event.loss for event in progress])}
    if found := recent(progress):
        spans = [(low, high) for low, high, _, _ in found]
        losses, samples = [one.loss for one in found], [one.samples for one in found]
        drawn["recent_timesteps"] = recent_losses(spans, losses, samples)
    groups = progress[-1].learning_rates
    if groups:
        nan = float("nan")
        rates = {name: [e.learning_rates.get(name, nan) for e in progress] for name in groups}
        drawn["rates"] = curves.rates(steps, rates)
    norms = [(e.step, e.gradient_norm) for e in progress if e.gradient_norm is not None]
    if norms:
        drawn["gradient_norm"] = curves.gradient_norm(*zip(*norms, strict=True))
    for name in progress[-1].traces:
        points = [(e.step, e.traces[name]) for e in progress if name in e.traces]
        x, y = zip(*points, strict=True)
        drawn[name] = curves.lines(x, {name: y}, title=name, y=name)
    return drawn


def _movement_figures(measured: Sequence[Measured]) -> dict[str, "Figure"]:
    """How far the weights have come: by block now, by block over the steps, and their average."""
    steps, last = [event.step for event in measured], measured[-1].change
    drawn = {"weight_change": curves.weight_change(last)}
    if len(steps) > 1:
        nan = float("nan")
        blocks = {block: [event.change.get(block, nan) for event in measured] for block in last}
        title = "How far the weights moved, by step"
        drawn["weight_change_by_step"] = curves.lines(steps, blocks, title=title, y="|dW| / |W|")
    lags = [(e.step, e.average.lag / e.average.distance) for e in measured if _moved(e)]  # type: ignore[union-attr]
    if len(lags) > 1:
        x, y = zip(*lags, strict=True)
        title = "Share of the way that the moving average lacks"
        drawn["ema_lag"] = curves.lines(x, {"lag": y}, title=title, y="|EMA - raw| / |raw - start|")
    return drawn


def _moved(event: Measured) -> bool:
    return event.average is not None and event.average.distance > 0
