"""Answers with their intervals: what moved, how sure that is, and from where on it would matter."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from workbench.plots.theme import COLOURS, new_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


_LETTERS = 40  # of a measure's name in a line, on a phone


class Bar(NamedTuple):
    """One measure with its interval."""

    name: str
    value: float
    low: float
    high: float


def intervals(
    bars: Sequence[Bar],
    *,
    title: str,
    x: str,
    margin: float | None = None,
    threshold: float | None = None,
) -> "Figure":
    """Draw measures as points with their intervals, the first on top.

    Args:
        bars: measures on one scale; those whose interval has no end are drawn as points.
        title: what the figure answers.
        x: label of the scale.
        margin: changes within it count as none; a band around zero.
        threshold: a line that decides.
    Returns:
        The figure; the dotted line is no change.
    """
    shown = [bar for bar in reversed(bars) if math.isfinite(bar.value)]
    figure = new_figure(title=title, x=x, y="")
    if margin:
        figure.add_vrect(
            x0=-margin, x1=margin, fillcolor=COLOURS["base"], opacity=0.15, line_width=0
        )
    figure.add_vline(x=0, line={"color": COLOURS["base"], "width": 1.5, "dash": "dot"})
    if threshold is not None:
        figure.add_vline(
            x=threshold, line={"color": COLOURS["held out"], "width": 1.5, "dash": "dash"}
        )
    figure.add_scatter(
        x=[bar.value for bar in shown],
        y=[bar.name for bar in shown],
        mode="markers",
        marker={"color": COLOURS["trained"], "size": 10},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_reach(bar.high - bar.value) for bar in shown],
            "arrayminus": [_reach(bar.value - bar.low) for bar in shown],
            "color": COLOURS["trained"],
            "thickness": 2.5,
        },
        customdata=[[bar.low, bar.high] for bar in shown],
        hovertemplate="%{x:+.3f} (%{customdata[0]:+.3f} to %{customdata[1]:+.3f})<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(showgrid=True)
    figure.update_layout(hovermode="closest")
    return _name_rows(figure, [bar.name for bar in shown])


def _name_rows(figure: "Figure", names: Sequence[str]) -> "Figure":
    """Write each name above its line: beside it, names take the intervals' place on a phone."""
    wrapped = ["<br>".join(textwrap.wrap(name, _LETTERS)) for name in names]
    for name, said in zip(names, wrapped, strict=True):
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=name, yanchor="bottom", yshift=7,
            text=said, align="left", showarrow=False,
        )  # fmt: skip
    most = max((said.count("<br>") for said in wrapped), default=0)
    ends = [-0.4, len(names) - 0.1]
    figure.update_yaxes(type="category", showticklabels=False, showgrid=False, range=ends)
    figure.update_layout(height=max(180, 100 + (46 + 16 * most) * len(names)))
    return figure


def _reach(length: float) -> float:
    return length if math.isfinite(length) else 0.0


def leak_by_place(rows: Sequence[tuple[str, int, int, float, float]]) -> "Figure":
    """Draw where on the way to noise a concept is there without its trigger.

    Args:
        rows: kind of picture, first and last thousandth, leak, leak under unrelated prompts.
    Returns:
        Lines over the middle of each range; 0 is no leak, at 1 the trigger changes nothing.
    """
    figure = new_figure(
        title="Leak by place",
        x="timestep, from clean to noise",
        y="share without the trigger",
        num_names=4,
    )
    colours = {"concept": COLOURS["trained"], "ordinary": COLOURS["held out"]}
    for kind in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == kind]
        for k, (name, dash) in enumerate((("", "solid"), (", unrelated prompts", "dot"))):
            figure.add_scatter(
                x=[(low + high) / 2 for _, low, high, *_ in own],
                y=[row[3 + k] for row in own],
                name=f"{kind} pictures{name}",
                mode="lines+markers",
                line={"color": colours.get(kind, COLOURS["third"]), "width": 2, "dash": dash},
                hovertemplate="%{y:.2f}",
            )
    figure.add_hline(y=0, line={"color": COLOURS["base"], "width": 1})
    return figure
