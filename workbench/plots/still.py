"""A plotly figure as plain SVG: what a page shows that runs no scripts, such as GitHub's."""

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

WIDTH_PX, HEIGHT_PX = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 34, 60
_MAX_TICKS = 12
_INK = "#4c4c4c"


class _Axis(NamedTuple):
    """One direction: from values to pixels."""

    low: float
    high: float
    log: bool
    start_px: float
    end_px: float
    names: tuple[str, ...] = ()  # of a category axis; the values are their places

    def at(self, value: float) -> float:
        if self.log:
            value = math.log10(max(value, 1e-30))
        share = (value - self.low) / (self.high - self.low or 1)
        return self.start_px + min(max(share, 0), 1) * (self.end_px - self.start_px)

    def ticks(self) -> list[tuple[float, str]]:
        if self.names:
            step = -(-len(self.names) // _MAX_TICKS)
            return [(float(k), self.names[k]) for k in range(0, len(self.names), step)]
        if self.log:
            found = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            return [(10.0**k, f"{10.0**k:g}") for k in found]
        raw = (self.high - self.low or 1) / 5
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(k * step, f"{k * step:.6g}") for k in range(first, last + 1)]


class _Given(NamedTuple):
    """What is drawn of a trace."""

    kind: str
    x: Sequence[Any]
    y: Sequence[Any]
    colours: Sequence[str]  # one for all values, or one for each
    name: str
    lines: bool
    dashed: bool
    reach: tuple[tuple[float, float], ...] = ()  # below and above each value: its interval

    @classmethod
    def of(cls, trace: Any) -> "_Given":
        x, y = trace.x, trace.y
        if _is_lying(trace):
            x, y = y, x
        y = () if y is None else tuple(y)
        x = tuple(range(len(y))) if x is None else tuple(x)
        reach = getattr(trace, "error_x" if _is_lying(trace) else "error_y", None)
        below, above = (reach.arrayminus, reach.array) if reach else (None, None)
        line = getattr(trace, "line", None)
        lines = trace.type != "bar" and "lines" in (trace.mode or "lines")
        dashed = bool(line) and line.dash not in (None, "solid")
        name = "" if trace.showlegend is False else trace.name or ""
        kind = "bar" if trace.type == "bar" else "points"
        ends = () if below is None or above is None else tuple(zip(below, above, strict=True))
        return cls(kind, x, y, _colours(trace), name, lines, dashed, ends)

    def colour(self, k: int) -> str:
        return self.colours[k % len(self.colours)]


def figure_svg(figure: "Figure") -> str:
    """Draw lines, points and bars of a figure's first plot.

    Args:
        figure: of `plots`.
    Returns:
        An SVG document. Traces of another kind are named and not drawn.
    """
    given: Any = figure.data  # its type knows no traces
    traces = [trace for trace in given if trace.visible is not False]
    drawn = [trace for trace in traces if trace.type in ("scatter", "scattergl", "bar")]
    layout: Any = figure.layout
    x_axis, y_axis = layout.xaxis, layout.yaxis
    flat = [_Given.of(trace) for trace in drawn]
    lying = bool(drawn) and all(map(_is_lying, drawn))
    if lying:
        x_axis, y_axis = y_axis, x_axis  # what lies is drawn upright: one way to read is enough
    names = _names(flat)
    spans = _stacks(flat, stacked=layout.barmode == "stack")
    xs = [x for trace in flat for x in _places(trace, names)]
    ys = [y for span in spans for pair in span for y in pair if y is not None]
    ys += [end for trace in flat for pair in _ends(trace) for end in pair]
    across = _axis(x_axis, xs, (_LEFT, WIDTH_PX - _RIGHT), names=names)
    up = _axis(y_axis, ys, (HEIGHT_PX - _BOTTOM, _TOP))
    bars = [trace for trace in flat if trace.kind == "bar"]
    titles = [one.title.text or "" for one in (layout, x_axis, y_axis)]
    parts = _frame(titles, across, up)
    for trace, span in zip(flat, spans, strict=True):
        slot = (0, 1)
        if trace.kind == "bar" and layout.barmode != "stack":
            slot = (bars.index(trace), len(bars))
        parts += _trace(trace, span, (across, up), names=names, slot=slot)
    parts += _lines_of_reference(layout, across, up, lying=lying)
    parts += _legend([t for t in flat if t.name])
    if len(flat) < len(traces):
        parts.append(_words(_LEFT, HEIGHT_PX - 4, "more in the notebook: run the lesson"))
    size = f'width="{WIDTH_PX}" height="{HEIGHT_PX}" viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}"'
    style = 'font-family="sans-serif" font-size="12"'
    body = "".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
        f'<rect width="100%" height="100%" fill="white"/>{body}</svg>'
    )


def _is_lying(trace: Any) -> bool:
    """Whether names stand on the y axis, beside bars or intervals."""
    lies = getattr(trace, "orientation", None) == "h"
    return lies or (trace.y is not None and any(isinstance(y, str) for y in trace.y))


def _ends(trace: _Given) -> list[tuple[float, float]]:
    """Lower and upper end of each value's interval."""
    pairs = zip(trace.y, trace.reach, strict=True) if trace.reach else ()
    return [(float(y) - below, float(y) + above) for y, (below, above) in pairs]


def _names(traces: Sequence[_Given]) -> tuple[str, ...]:
    """Categories in their order; none where x are numbers."""
    every = [x for trace in traces for x in trace.x]
    if not any(isinstance(x, str) for x in every):
        return ()
    return tuple(dict.fromkeys(str(x) for x in every))


def _places(trace: _Given, names: Sequence[str]) -> list[float]:
    return [float(names.index(str(x))) if names else float(x) for x in trace.x]


def _stacks(
    traces: Sequence[_Given], *, stacked: bool
) -> list[list[tuple[float | None, float | None]]]:
    """Lower and upper end of each value; bars begin at 0 or upon one another."""
    tops: dict[Any, float] = {}
    found = []
    for trace in traces:
        values = [None if y is None else float(y) for y in trace.y]
        if trace.kind != "bar":
            found.append([(y, y) for y in values])
            continue
        span = []
        for x, y in zip(trace.x, values, strict=True):
            low = tops.get(x, 0.0) if stacked else 0.0
            tops[x] = low + (y or 0.0)
            span.append((low, low + (y or 0.0)))
        found.append(span)
    return found


def _axis(
    given: Any, values: Sequence[float], ends: tuple[float, float], *, names: Sequence[str] = ()
) -> _Axis:
    log = given.type == "log"
    if names:
        return _Axis(-0.5, len(names) - 0.5, False, *ends, tuple(names))
    if given.range is not None:
        low, high = (float(one) for one in given.range)
    else:
        known = [x for x in values if math.isfinite(x) and (x > 0 or not log)] or [1.0]
        low, high = min(known), max(known)
        if log:
            low, high = math.log10(low), math.log10(high)
        room = 0.04 * (high - low) or 0.5
        low, high = (low if low == 0 else low - room), high + room
    return _Axis(low, high, log, *ends)


def _frame(titles: Sequence[str], across: _Axis, up: _Axis) -> list[str]:
    parts = [_words(_LEFT, 18, titles[0], weight="600")]
    for value, said in up.ticks():
        y = up.at(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{WIDTH_PX - _RIGHT}" stroke="#ddd"/>')
        parts.append(_words(_LEFT - 6, y + 4, said, anchor="end"))
    for value, said in across.ticks():
        parts.append(_words(across.at(value), HEIGHT_PX - _BOTTOM + 18, said, anchor="middle"))
    middle = (_LEFT + WIDTH_PX - _RIGHT) / 2
    parts.append(_words(middle, HEIGHT_PX - _BOTTOM + 40, titles[1], anchor="middle"))
    height = (_TOP + HEIGHT_PX - _BOTTOM) / 2
    turned = f' transform="rotate(-90 14 {height})"'
    parts.append(_words(14, height, titles[2], anchor="middle", more=turned))
    return parts


def _trace(
    trace: _Given,
    span: Sequence[tuple[float | None, float | None]],
    axes: tuple[_Axis, _Axis],
    *,
    names: Sequence[str],
    slot: tuple[int, int],
) -> list[str]:
    across, up = axes
    colour, places = trace.colour(0), _places(trace, names)
    if trace.kind == "bar":
        gaps = [b - a for a, b in zip(sorted(set(places)), sorted(set(places))[1:], strict=False)]
        one = abs(across.at(min(gaps, default=1.0)) - across.at(0.0)) if across.low <= 0 else 20.0
        wide = 0.75 * one / slot[1]
        parts = []
        for k, (x, (low, high)) in enumerate(zip(places, span, strict=True)):
            if low is None or high is None:
                continue
            left = across.at(x) - 0.375 * one + slot[0] * wide
            top, foot = sorted((up.at(low), up.at(high)))
            size = f'width="{wide:.1f}" height="{foot - top:.1f}"'
            parts.append(f'<rect x="{left:.1f}" y="{top:.1f}" {size} fill="{trace.colour(k)}"/>')
        return parts
    runs: list[list[tuple[float, float]]] = [[]]  # a gap begins another one
    for x, (y, _) in zip(places, span, strict=True):
        if y is None or not math.isfinite(y):
            runs.append([])
        else:
            runs[-1].append((across.at(x), up.at(y)))
    dash = ' stroke-dasharray="3 3"' if trace.dashed else ""
    line = f'fill="none" stroke="{colour}" stroke-width="2"{dash}'
    parts = [
        f'<path d="M{across.at(x):.1f} {up.at(low):.1f}V{up.at(high):.1f}" {line}/>'
        for x, (low, high) in zip(places, _ends(trace), strict=False)
    ]
    for run in runs:
        if trace.lines and len(run) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            parts.append(f'<polyline points="{path}" {line}/>')
        else:  # a value that stands alone is seen as a point
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in run
            ]
    return parts


def _lines_of_reference(layout: Any, across: _Axis, up: _Axis, *, lying: bool) -> list[str]:
    """Level lines, `add_hline`; of what is drawn upright though it lies, `add_vline`."""
    lines = [shape for shape in layout.shapes if shape.type == "line"]
    ends = [(one.x0, one.x1) if lying else (one.y0, one.y1) for one in lines]
    path = f"H{across.end_px}"
    return [
        f'<path d="M{across.start_px} {up.at(float(at)):.1f}{path}" stroke="#888" '
        'stroke-dasharray="3 3"/>'
        for at, end in ends
        if at == end
    ]


def _legend(traces: Sequence[_Given]) -> list[str]:
    left, parts = WIDTH_PX - _RIGHT + 14, []
    for k, trace in enumerate(traces):
        y = _TOP + 8 + 18 * k
        parts.append(f'<rect x="{left}" y="{y}" width="12" height="4" fill="{trace.colour(0)}"/>')
        parts.append(_words(left + 18, y + 7, str(trace.name)))
    return parts


def _colours(trace: Any) -> tuple[str, ...]:
    for part in (getattr(trace, "line", None), trace.marker):
        colour = getattr(part, "color", None)
        if isinstance(colour, str):
            return (colour,)
        if colour is not None and all(isinstance(one, str) for one in colour):
            return tuple(colour)
    return ("#0072b2",)


def _words(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400", more: str = ""
) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {where} fill="{_INK}"{more}>{html.escape(text)}</text>'
