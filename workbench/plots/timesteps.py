"""Timesteps: how noisy each is, how often it is drawn, how much it counts, how well it goes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.plots.theme import COLOURS, SERIES, line_mode, new_figure, thin

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Numbers = Sequence[float]


def signal(snr: Numbers, *, marked: int | None = None) -> "Figure":
    """Draw how much of the picture is left at each timestep.

    Args:
        snr: signal-to-noise ratio of each timestep, >= 0; 0 (noise alone) has no place on the axis.
        marked: a timestep to mark.
    Returns:
        The figure; the dotted line is as much noise as picture.
    """
    figure = new_figure(
        title="How much of the picture is left",
        x="timestep, from clean to noise",
        y="signal-to-noise ratio",
        log_y=True,
    )
    keep = thin(len(snr))
    shown = [snr[i] if snr[i] > 0 else None for i in keep]
    figure.add_scatter(
        x=keep,
        y=shown,
        mode=line_mode(shown),
        name="signal to noise",
        showlegend=False,
        line={"color": COLOURS["trained"], "width": 2.5},
        hovertemplate="%{y:.3g}",
    )
    figure.add_hline(y=1, line={"color": COLOURS["base"], "width": 1.5, "dash": "dot"})
    if marked is not None:
        figure.add_scatter(
            x=[marked],
            y=[snr[marked] if snr[marked] > 0 else None],
            mode="markers",
            showlegend=False,
            marker={"color": COLOURS["held out"], "size": 11},
            hovertemplate="here<extra></extra>",
        )
    lowest = min((value for value in snr if value > 0), default=1e-3)
    figure.update_yaxes(dtick=1, range=[math.log10(max(lowest, 1e-5)) - 0.2, 4])
    return figure


def emphasis(*, density: Numbers, weights: Numbers) -> "Figure":
    """Draw the density of the timesteps beside the loss weight, and what comes of both.

    All are relative to plain training, where each timestep is as likely as any other and counts 1,
    so that one axis holds them.

    Args:
        density: probability of each timestep, of sum 1.
        weights: weight of each timestep's loss.
    Returns:
        The figure; the dotted line is plain training.
    """
    figure = new_figure(
        title="Where training looks, what counts",
        x="timestep, from clean to noise",
        y="times plain training",
        num_names=3,
    )
    likely = [len(density) * p for p in density]
    product = [p * w for p, w in zip(likely, weights, strict=True)]
    keep = thin(len(density))
    figure.add_scatter(
        x=keep,
        y=[product[i] for i in keep],
        name="both together",
        fill="tozeroy",
        fillcolor="rgba(0,114,178,0.14)",
        line={"color": COLOURS["trained"], "width": 2.5},
        hovertemplate="%{y:.2f}",
    )
    for name, values, colour in (
        ("how often it is drawn", likely, SERIES[2]),
        ("how much it counts", list(weights), SERIES[1]),
    ):
        figure.add_scatter(
            x=keep,
            y=[values[i] for i in keep],
            name=name,
            line={"color": colour, "width": 1.5},
            hovertemplate="%{y:.2f}",
        )
    figure.add_hline(y=1, line={"color": COLOURS["base"], "width": 1.5, "dash": "dot"})
    figure.update_yaxes(rangemode="tozero")
    return figure


def recent_losses(
    spans: Sequence[tuple[int, int]], losses: Numbers, samples: Sequence[int]
) -> "Figure":
    """Draw the unweighted training loss of the last steps by timestep.

    Args:
        spans: first timestep of each range and the first one beyond it.
        losses: mean loss of each range.
        samples: how many samples each mean is over.
    Returns:
        Bars; a paler one rests on few samples.
    """
    figure = new_figure(
        title="Loss by timestep, latest steps",
        x="timestep, from clean to noise",
        y="loss, unweighted",
    )
    most = max(samples, default=1)
    figure.add_bar(
        x=[f"{low}–{high - 1}" for low, high in spans],
        y=list(losses),
        customdata=list(samples),
        marker={
            "color": COLOURS["trained"],
            "cornerradius": 3,
            "opacity": [0.35 + 0.65 * count / most for count in samples],
        },
        hovertemplate="%{y:.4f} over %{customdata} samples<extra></extra>",
    )
    figure.update_layout(bargap=0.15)
    figure.update_xaxes(type="category")
    figure.update_yaxes(rangemode="tozero")
    return figure
