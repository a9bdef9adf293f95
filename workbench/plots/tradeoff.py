"""What a choice wins and loses: likeness against prompt following, each with its interval."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from workbench.plots.theme import COLOURS, new_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Kind = Literal["chosen", "front", "other", "base"]
_LOOKS: dict[Kind, tuple[str, str, int, str]] = {  # name, colour, size, symbol
    "chosen": ("take this", COLOURS["trained"], 16, "star"),
    "front": ("a best trade-off", COLOURS["trained"], 11, "circle"),
    "other": ("beaten in both", COLOURS["base"], 9, "circle-open"),
    "base": ("no LoRA", COLOURS["held out"], 10, "diamond"),
}


class Spot(NamedTuple):
    """One candidate."""

    name: str
    likeness: tuple[float, float, float]  # mean, low, high
    following: tuple[float, float, float]
    kind: Kind


def tradeoff(spots: Sequence[Spot]) -> "Figure":
    """Draw candidates by what they win and lose against the base, which lies at 0, 0.

    Args:
        spots: all of them.
    Returns:
        The figure; up and to the right is better, a line joins the best trade-offs.
    """
    figure = new_figure(
        title="Likeness against prompt following",
        x="change of prompt following",
        y="change of likeness",
        num_names=len(spots),
    )
    figure.add_hline(y=0, line={"color": COLOURS["base"], "width": 1, "dash": "dot"})
    figure.add_vline(x=0, line={"color": COLOURS["base"], "width": 1, "dash": "dot"})
    best = sorted(s.following[0] for s in spots if s.kind in ("front", "chosen"))
    if len(best) > 1:
        line = sorted((s for s in spots if s.kind in ("front", "chosen")), key=_across)
        figure.add_scatter(
            x=[s.following[0] for s in line],
            y=[s.likeness[0] for s in line],
            mode="lines",
            line={"color": COLOURS["trained"], "width": 1, "dash": "dash"},
            hoverinfo="skip",
            showlegend=False,
        )
    for spot in sorted(spots, key=lambda one: list(_LOOKS).index(one.kind)):
        word, colour, size, symbol = _LOOKS[spot.kind]
        figure.add_scatter(
            x=[spot.following[0]],
            y=[spot.likeness[0]],
            error_x=_errors(spot.following, colour),
            error_y=_errors(spot.likeness, colour),
            mode="markers",
            name=f"{spot.name} ({word})",
            marker={"color": colour, "size": size, "symbol": symbol},
            hovertemplate="likeness %{y:+.3f}, following %{x:+.3f}",
        )
    figure.update_layout(hovermode="closest")
    return figure


def _across(spot: Spot) -> float:
    return spot.following[0]


def _errors(found: tuple[float, float, float], colour: str) -> dict[str, object]:
    mean, low, high = found
    return {
        "type": "data",
        "symmetric": False,
        "array": [_reach(high - mean)],
        "arrayminus": [_reach(mean - low)],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def _reach(length: float) -> float:
    return length if math.isfinite(length) else 0.0
