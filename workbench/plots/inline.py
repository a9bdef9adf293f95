"""A curve as a small drawing that any page shows at once: SVG, without a script."""

import html
import math
from collections.abc import Sequence

from workbench.plots.theme import COLOURS, INK, smooth, thin

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 8, 8, 20  # px around the curve
_POINTS = 400


def curve_svg(
    steps: Sequence[float],
    values: Sequence[float],
    *,
    label: str,
    last: float | None = None,
    size_px: tuple[int, int] = (560, 150),
) -> str:
    """Draw a curve that still grows, each value in grey and its trend in colour.

    Args:
        steps: rising.
        values: one number a step; those that are not finite are left out.
        label: what is drawn.
        last: right end of the axis; the last step when left out.
        size_px: width and height.
    Returns:
        SVG text.
    """
    width, height = size_px
    trend = smooth(values, weight=max(0.0, 1 - 10 / max(len(values), 1)))
    keep = [k for k in thin(len(values), _POINTS) if math.isfinite(values[k])]
    shown = [values[k] for k in keep] or [0.0]
    low, high = min(shown), max(shown)
    end = max([last or 0, *steps[-1:], 1])
    span = (high - low) or abs(high) or 1.0

    def points(series: Sequence[float]) -> str:
        across = (width - _LEFT - _RIGHT) / end
        down = (height - _TOP - _BOTTOM) / span
        at = (
            (_LEFT + steps[k] * across, height - _BOTTOM - (series[k] - low) * down) for k in keep
        )
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in at)

    def words(text: str, x: float, y: float, anchor: str) -> str:
        style = f'font-size="11" fill="{INK}" text-anchor="{anchor}"'
        return f'<text x="{x}" y="{y}" {style}>{html.escape(text)}</text>'

    line = 'fill="none" stroke-linejoin="round"'
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(label)}" font-family="system-ui, sans-serif">'
        + words(f"{high:.3g}", _LEFT - 6, _TOP + 8, "end")
        + words(f"{low:.3g}", _LEFT - 6, height - _BOTTOM, "end")
        + words(label, _LEFT, height - 5, "start")
        + words(f"{end:g}", width - _RIGHT, height - 5, "end")
        + (_dot(points(values)) if len(keep) == 1 else "")
        + f'<polyline points="{points(values)}" {line} stroke="{COLOURS["base"]}" opacity=".5"/>'
        + f'<polyline points="{points(trend)}" {line} stroke="{COLOURS["trained"]}" '
        'stroke-width="2.5"/></svg>'
    )


def _dot(point: str) -> str:
    """A single value, of which a line shows nothing."""
    x, y = point.split(",")
    return f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS["trained"]}"/>'
