"""One look for all figures: quiet axes, one colour a meaning, readable on light and dark pages."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Okabe and Ito's palette, told apart by the colour-blind too. `trained` is always the same colour.
COLOURS = {
    "trained": "#0072b2",
    "held out": "#d55e00",
    "base": "#8a8f98",
    "third": "#009e73",
    "fourth": "#cc79a7",
    "fifth": "#b58900",
}
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9")
# Grey that both a white and a dark page leave readable.
INK, GRID = "#7c828c", "rgba(128,134,145,0.22)"
FONT = "system-ui, -apple-system, Segoe UI, sans-serif"
MAX_POINTS = 2000
# Below the axis: above the plot a legend of two lines covers the title on a phone.
_LEGEND = {
    "orientation": "h", "font": {"size": 11},
    "x": 0, "xanchor": "left", "xref": "container",
    "y": 0, "yanchor": "bottom", "yref": "container",
}  # fmt: skip
_NAME_PX = 16  # height of a legend's line


def new_figure(*, title: str, x: str, y: str, log_y: bool = False, num_names: int = 0) -> "Figure":
    """Start a figure in the common look.

    Args:
        title: what the figure answers, in a few words.
        x: label of the x axis, with its unit.
        y: label of the y axis, with its unit.
        log_y: logarithmic y axis.
        num_names: in the legend; a phone has room for one a line, and the curves keep their height.
    Returns:
        An empty figure with a transparent background.
    """
    from plotly.graph_objects import Figure

    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": GRID,
        "ticks": "",
        "automargin": True,
        "title": {"standoff": 8},
    }
    # Built in one go: `update_layout` on an empty figure takes eight times as long.
    layout = {
        "title": {
            "text": title,
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 0.97,
            "yanchor": "top",
            "font": {"size": 15},
        },
        "font": {
            "family": FONT,
            "size": 12,
            "color": INK,
        },
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": axis | {"title": {"text": x, "standoff": 8}, "showgrid": False},
        # Without a type it follows the data: names have no place on an axis that is called linear.
        "yaxis": axis | {"title": {"text": y, "standoff": 8}} | ({"type": "log"} if log_y else {}),
        "margin": {"l": 8, "r": 8, "t": 48, "b": 8},
        "legend": _LEGEND,
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "rgba(24,27,32,0.94)", "font": {"color": "#f2f4f7"}},
        "height": 320 + _NAME_PX * max(0, num_names - 2),
        "uirevision": "keep",  # a redrawn figure keeps its zoom
    }
    figure = Figure(layout=layout)
    figure.layout.template = None
    return figure


def thin(count: int, limit: int = MAX_POINTS) -> list[int]:
    """Choose which points of a long curve to draw, the first and the last included.

    Args:
        count: number of points.
        limit: at most so many are kept, >= 2.
    Returns:
        Indices, rising.
    """
    if count <= limit:
        return list(range(count))
    return sorted({round(k * (count - 1) / (limit - 1)) for k in range(limit)})


def line_mode(values: Sequence[float | None]) -> str:
    """How to draw a line so that each of its values is seen.

    Args:
        values: of the line; None and NaN are gaps.
    Returns:
        "lines+markers" where a value stands alone, of which a line alone shows nothing; else
        "lines".
    """
    known = [False, *(x is not None and math.isfinite(x) for x in values), False]
    alone = any(here and not (known[k] or known[k + 2]) for k, here in enumerate(known[1:-1]))
    return "lines+markers" if alone else "lines"


def shorten(name: str, *, most: int = 22, end: bool = False) -> str:
    """Make a name fit beside a plot on a phone.

    Args:
        name: any length.
        most: letters that fit.
        end: keep the end, where modules of a model differ, in place of the start.
    Returns:
        The name, or a part of it with an ellipsis.
    """
    if len(name) <= most:
        return name
    return "…" + name[1 - most :] if end else name[: most - 1].rstrip() + "…"


def smooth(values: Sequence[float], *, weight: float) -> list[float]:
    """Average a curve over its past, so that a trend shows through the noise.

    Args:
        values: one number a step.
        weight: share that the past keeps at each step, in [0, 1).
    Returns:
        As many numbers; early ones are not pulled to zero.
    Source: exponential moving average with the bias correction of Adam (arXiv 1412.6980).
    """
    mean, norm, out = 0.0, 0.0, []
    for value in values:
        if value == value and abs(value) != float("inf"):
            mean = weight * mean + (1 - weight) * value
            norm = weight * norm + (1 - weight)
        out.append(mean / norm if norm else float("nan"))
    return out
