"""Figure of tags that stand together, which training cannot tell apart where they always do."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from workbench.plots.theme import GRID, new_figure, shorten

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# From nothing to the colour of what is trained, on a light page as on a dark one.
SCALE = ((0.0, "rgba(0,114,178,0.04)"), (1.0, "rgba(0,114,178,1)"))


def together(
    tags: Sequence[str], counts: Mapping[str, int], pairs: Mapping[tuple[str, str], int]
) -> "Figure":
    """Draw how often tags stand together.

    Args:
        tags: which ones, in the order of the axes.
        counts: tag to number of captions that hold it.
        pairs: pair of tags in alphabetical order to number of captions that hold both.
    Returns:
        A square of shares in percent: of the captions with the rarer of the two tags, how many
        hold both. The diagonal is left out.
    """

    def share(one: str, other: str) -> float | None:
        if one == other:
            return None
        first, second = sorted((one, other))
        return 100 * pairs.get((first, second), 0) / max(1, min(counts[one], counts[other]))

    figure = new_figure(title="Tags that stand together", x="", y="")
    figure.add_heatmap(
        x=list(tags),
        y=list(tags),
        z=[[share(row, column) for column in tags] for row in tags],
        zmin=0,
        zmax=100,
        colorscale=SCALE,
        colorbar={"title": {"text": "%"}, "thickness": 10, "outlinewidth": 0},
        hovertemplate="%{y} + %{x}: %{z:.0f} % of the rarer<extra></extra>",
    )
    at, shown = list(tags), [shorten(tag, most=16) for tag in tags]
    figure.update_xaxes(type="category", tickangle=-45, gridcolor=GRID, tickvals=at, ticktext=shown)
    figure.update_yaxes(
        type="category", autorange="reversed", gridcolor=GRID, tickvals=at, ticktext=shown
    )
    figure.update_layout(height=max(320, 160 + 22 * len(tags)), hovermode="closest")
    return figure
