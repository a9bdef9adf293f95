"""The curves of a run: loss, stable loss against the base, rates, gradient norm, weight change."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workbench.plots.theme import (
    COLOURS,
    SERIES,
    line_mode,
    new_figure,
    shorten,
    smooth,
    thin,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Numbers = Sequence[float]
SPLIT_COLOURS = {"train": COLOURS["trained"], "held out": COLOURS["held out"]}


def loss(steps: Numbers, losses: Numbers) -> "Figure":
    """Draw the training loss with its trend.

    Args:
        steps: optimizer steps, rising.
        losses: one number a step.
    Returns:
        The figure.
    """
    figure = new_figure(title="Training loss", x="step", y="loss")
    trend = smooth(losses, weight=max(0.0, 1 - 10 / max(len(losses), 1)))
    keep = thin(len(losses))
    x = [steps[i] for i in keep]
    figure.add_scatter(
        x=x,
        y=[losses[i] for i in keep],
        mode=line_mode([losses[i] for i in keep]),
        name="each step",
        line={"color": COLOURS["base"], "width": 1},
        opacity=0.45,
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=x,
        y=[trend[i] for i in keep],
        mode=line_mode([trend[i] for i in keep]),
        name="trend",
        line={"color": COLOURS["trained"], "width": 2.5},
        hovertemplate="%{y:.4f}",
    )
    return figure


def stable_loss(splits: Mapping[str, tuple[Numbers, Numbers, float | None]]) -> "Figure":
    """Draw the stable loss of each split as change against its base, which is the zero line.

    Args:
        splits: "train" and "held out" to (steps, losses, the base's loss).
    Returns:
        The figure, in percent of the base's loss; below zero is better than the base.
    """
    figure = new_figure(
        title="Stable loss against the base", x="step", y="change against the base, %"
    )
    figure.add_hline(y=0, line={"color": COLOURS["base"], "width": 1.5, "dash": "dot"})
    for name, (steps, losses, base) in splits.items():
        if not base:
            continue
        figure.add_scatter(
            x=[0, *steps] if steps and steps[0] > 0 else list(steps),
            y=[0] * bool(steps and steps[0] > 0) + [100 * (x / base - 1) for x in losses],
            name=name,
            mode="lines+markers",
            line={"color": SPLIT_COLOURS.get(name, SERIES[2]), "width": 2.5},
            hovertemplate="%{y:+.1f} %",
        )
    return figure


def several(runs: Mapping[str, tuple[Numbers, Numbers]]) -> "Figure":
    """Draw the stable loss of several runs as change against their base, which is the zero line.

    Args:
        runs: name to (steps, change in percent).
    Returns:
        The figure; below zero is better than the base.
    """
    figure = new_figure(
        title="Stable loss against the base",
        x="step",
        y="change against the base, %",
        num_names=len(runs),
    )
    figure.add_hline(y=0, line={"color": COLOURS["base"], "width": 1.5, "dash": "dot"})
    for k, (name, (steps, changes)) in enumerate(runs.items()):
        figure.add_scatter(
            x=list(steps),
            y=list(changes),
            name=name,
            mode="lines+markers",
            line={"color": SERIES[k % len(SERIES)], "width": 2.5},
            hovertemplate="%{y:+.1f} %",
        )
    return figure


def losses(
    runs: Mapping[str, tuple[Numbers, Numbers]], *, title: str = "Training loss", y: str = "loss"
) -> "Figure":
    """Draw the trend of the training loss of several runs over one another.

    Args:
        runs: name to (steps, loss of each).
        title: what the figure answers, where it is another number of each step.
        y: that number's name.
    Returns:
        The figure.
    """
    figure = new_figure(title=title, x="step", y=f"{y}, smoothed")
    for k, (name, (steps, values)) in enumerate(runs.items()):
        trend = smooth(values, weight=max(0.0, 1 - 10 / max(len(values), 1)))
        keep = thin(len(values))
        figure.add_scatter(
            x=[steps[i] for i in keep],
            y=[trend[i] for i in keep],
            name=name,
            line={"color": SERIES[k % len(SERIES)], "width": 2.5},
            hovertemplate="%{y:.4f}",
        )
    return figure


def loss_by_timestep(edges: Numbers, splits: Mapping[str, tuple[Numbers, Numbers]]) -> "Figure":
    """Draw in which timesteps the model became better than its base.

    Args:
        edges: borders of the timestep bins, one more than bins.
        splits: "train" and "held out" to (losses, the base's losses), one number a bin.
    Returns:
        Bars in percent of the base's loss; below zero is better.
    """
    figure = new_figure(
        title="Where it learned, by timestep",
        x="timestep, from clean to noise",
        y="change against the base, %",
    )
    names = [f"{low:.0f}–{high:.0f}" for low, high in itertools.pairwise(edges)]
    for name, (losses, base) in splits.items():
        figure.add_bar(
            x=names,
            y=[100 * (x / b - 1) if b else None for x, b in zip(losses, base, strict=True)],
            name=name,
            marker={"color": SPLIT_COLOURS.get(name, SERIES[2]), "cornerradius": 3},
            hovertemplate="%{y:+.1f} %",
        )
    figure.update_layout(bargap=0.3, bargroupgap=0.08)
    figure.update_xaxes(type="category")
    figure.add_hline(y=0, line={"color": COLOURS["base"], "width": 1})
    return figure


def lines(
    steps: Numbers,
    series: Mapping[str, Numbers],
    *,
    title: str,
    y: str,
    log_y: bool = False,
) -> "Figure":
    """Draw any number of curves over the steps.

    Args:
        steps: optimizer steps, rising.
        series: name to one number a step.
        title: what the figure answers.
        y: label of the y axis.
        log_y: logarithmic y axis; values at or below 0 are left out there. Where none is above
            0, as gradients of nothing are, the axis is linear.
    Returns:
        The figure.
    """
    log_y = log_y and any(value > 0 for values in series.values() for value in values)
    figure = new_figure(title=title, x="step", y=y, log_y=log_y, num_names=len(series))
    keep = thin(len(steps))
    for k, (name, values) in enumerate(series.items()):
        shown = [values[i] if not log_y or values[i] > 0 else None for i in keep]
        figure.add_scatter(
            x=[steps[i] for i in keep],
            y=shown,
            mode=line_mode(shown),
            name=name,
            line={"color": SERIES[k % len(SERIES)], "width": 2},
            hovertemplate="%{y:.3g}",
            showlegend=len(series) > 1,
        )
    return figure


def rates(steps: Numbers, groups: Mapping[str, Numbers]) -> "Figure":
    """Draw the learning rate of each parameter group.

    Args:
        steps: optimizer steps, rising.
        groups: group name to one rate a step.
    Returns:
        The figure.
    """
    figure = lines(steps, groups, title="Learning rate", y="rate")
    figure.update_yaxes(tickformat=".1e", rangemode="tozero")
    return figure


def gradient_norm(steps: Numbers, norms: Numbers, *, clip: float | None = None) -> "Figure":
    """Draw the gradient norm before clipping.

    Args:
        steps: optimizer steps, rising.
        norms: 2-norm over all trainables, one a step.
        clip: the norm that longer gradients are shortened to.
    Returns:
        The figure.
    """
    figure = lines(steps, {"gradient norm": norms}, title="Gradient norm", y="2-norm", log_y=True)
    is_log = any(norm > 0 for norm in norms)
    if is_log:
        figure.update_yaxes(dtick="D2")  # label 1, 2 and 5 of each decade
    if clip and is_log:
        figure.add_hline(
            y=clip,
            line={"color": COLOURS["held out"], "width": 1, "dash": "dash"},
            annotation_text="clipped above",
            annotation_position="top right",
        )
    return figure


def weight_change(changes: Mapping[str, float], *, most: int = 24) -> "Figure":
    """Draw how far each part of the model was moved, |dW| / |W|.

    Args:
        changes: module or block name to ratio.
        most: only so many are drawn, the largest ones.
    Returns:
        Bars, the largest on top.
    """
    top = sorted(changes.items(), key=lambda pair: pair[1])[-most:]
    figure = new_figure(title="How far the weights moved", x="|dW| / |W|", y="")
    names = [name for name, _ in top]
    figure.add_bar(
        x=[value for _, value in top],
        y=names,
        orientation="h",
        marker={"color": COLOURS["trained"], "cornerradius": 3},
        text=[f"{value:.2%}" for _, value in top],  # a bar of 0 is seen by its number alone
        textposition="outside",
        hovertemplate="%{y}: %{x:.3%}<extra></extra>",
    )
    ticks = [shorten(name, most=20, end=True) for name in names]
    longest = max(changes.values(), default=0)
    if longest > 0:
        figure.update_xaxes(range=[0, 1.4 * longest])  # room for the number on a phone
    figure.update_yaxes(type="category", tickvals=names, ticktext=ticks)
    figure.update_layout(hovermode="closest", height=max(200, 100 + 22 * len(top)))
    return figure
