"""Figures of captions: what is left of them after dropout and shuffling."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench.plots.theme import COLOURS, new_figure, shorten

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def survival(
    shares: Mapping[str, float], *, num_draws: int, trigger: str | None = None
) -> "Figure":
    """Draw in how many draws of a caption each tag is there.

    Args:
        shares: tag to share of the draws that hold it, in [0, 1], in the caption's order.
        num_draws: how many were made.
        trigger: drawn in a colour of its own.
    Returns:
        Bars in percent, the first tag on top.
    """
    figure = new_figure(title=f"Tags in {num_draws} draws", x="% of the draws", y="")
    tags = list(shares)[::-1]
    figure.add_bar(
        x=[100 * shares[tag] for tag in tags],
        y=tags,
        orientation="h",
        marker={
            "color": [COLOURS["held out" if tag == trigger else "trained"] for tag in tags],
            "cornerradius": 3,
        },
        text=[f"{100 * shares[tag]:.0f}" for tag in tags],
        textposition="outside",
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        showlegend=False,
    )
    figure.update_xaxes(range=[0, 125], showgrid=True)
    figure.update_yaxes(
        type="category", tickvals=tags, ticktext=[shorten(tag, most=20) for tag in tags]
    )
    figure.update_layout(height=max(220, 110 + 26 * len(tags)), hovermode="closest")
    return figure
