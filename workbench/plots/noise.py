"""Figures of noise: the field, its spectra, its correlations, and what it does to a picture.

Numbers in, plotly figures out. Spectra come with frequency 0 at [0, 0], as a Fourier transform
gives them, and are drawn with it in the middle.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from workbench.plots.theme import COLOURS, INK, SERIES, line_mode, new_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Numbers = Sequence[float] | np.ndarray
# Limits that all noises share, so that colours can be compared: deviations, and decades of power.
FIELD_LIMIT, POWER_DECADES = 3.0, (-2.0, 3.0)
FIELD_COLOURS = (
    (0.0, "#0b3c5d"), (0.25, "#4a90b8"), (0.5, "#f6f3ec"), (0.75, "#d9824a"), (1.0, "#7a2e0c")
)  # fmt: skip
POWER_COLOURS = (
    (0.0, "#0d0b1e"), (0.25, "#46186b"), (0.5, "#a52c60"), (0.75, "#ed6925"), (1.0, "#fcf3a8")
)  # fmt: skip
PHASE_COLOURS = ((0.0, "#1b1e24"), (0.5, "#f4f4f2"), (1.0, "#1b1e24"))  # -pi and pi are the same
HEIGHT_PX = 300


def field(channels: np.ndarray, *, title: str = "Field") -> "Figure":
    """Draw the channels of one noise side by side.

    Args:
        channels: (C, H, W), of about unit deviation.
        title: what is shown.
    Returns:
        One picture a channel, white at 0, full colour at three deviations.
    """
    from plotly.subplots import make_subplots

    count = len(channels)
    figure = make_subplots(
        rows=1,
        cols=count,
        horizontal_spacing=0.02,
        subplot_titles=[f"{k}" for k in range(count)],
    )
    for k, values in enumerate(channels, 1):
        figure.add_heatmap(
            z=_short(values),
            zmin=-FIELD_LIMIT,
            zmax=FIELD_LIMIT,
            colorscale=_scale(FIELD_COLOURS),
            showscale=k == count,
            colorbar={"thickness": 10, "outlinewidth": 0},
            hovertemplate="%{z:.2f}<extra></extra>",
            row=1,
            col=k,
        )
    return _as_pictures(figure, f"{title}, by channel")


def power_spectrum(power: np.ndarray) -> "Figure":
    """Draw how strong each frequency is, by direction.

    Args:
        power: (H, W), relative to white noise, frequency 0 at [0, 0].
    Returns:
        Decimal logarithm as a picture: 0 is white noise, its middle the mean.
    """
    with np.errstate(divide="ignore"):
        decades = np.log10(np.fft.fftshift(power))
    return _spectrum(
        np.clip(decades, -9, 9),
        title="Power against white noise, log10",
        limits=POWER_DECADES,
        colours=POWER_COLOURS,
    )


def phase_spectrum(phase: np.ndarray) -> "Figure":
    """Draw the phases of one field: plain grain, unless the field has structure.

    Args:
        phase: (H, W), in [-pi, pi], frequency 0 at [0, 0].
    Returns:
        The picture; its middle is the mean.
    """
    return _spectrum(
        np.fft.fftshift(phase),
        title="Phase spectrum",
        limits=(-np.pi, np.pi),
        colours=PHASE_COLOURS,
    )


def radial_power(
    spectra: Mapping[str, Numbers], *, published: Mapping[str, Mapping[int, float]] | None = None
) -> "Figure":
    """Draw power over frequency, averaged over directions.

    Args:
        spectra: noise to its power at k = 0, 1, 2, ... cycles a picture, relative to white noise.
        published: noise to what was measured on its published code, by k; drawn as rings.
    Returns:
        The figure; the mean (k = 0) stands at the left edge, at k = 0.5.
    """
    figure = new_figure(
        title="Power by frequency", x="cycles per picture (0.5: the mean)", y="power", log_y=True
    )
    figure.add_hline(y=1, line={"color": COLOURS["base"], "width": 1.5, "dash": "dot"})
    for k, (name, values) in enumerate(spectra.items()):
        colour = SERIES[k % len(SERIES)]
        shown = [float(v) if v > 1e-6 else None for v in values]
        figure.add_scatter(
            x=[0.5, *range(1, len(values))],
            y=shown,
            mode=line_mode(shown),
            name=name,
            line={"color": colour, "width": 2, "dash": _dash(k)},
            hovertemplate="%{y:.3g}",
        )
        rings = {x: y for x, y in (published or {}).get(name, {}).items() if y > 0}
        if rings:
            figure.add_scatter(
                x=[x or 0.5 for x in rings],
                y=list(rings.values()),
                mode="markers",
                name=f"{name}, published",
                marker={"symbol": "circle-open", "size": 9, "color": colour},
                showlegend=False,
                hovertemplate="published %{y:.3g}<extra></extra>",
            )
    figure.update_xaxes(type="log", tickvals=[0.5, 1, 2, 4, 8, 16, 32, 64], ticktext=_ticks())
    figure.update_yaxes(dtick=1)
    return _room_for_names(figure, len(spectra))


def autocorrelation(series: Mapping[str, Numbers]) -> "Figure":
    """Draw how much pixels some distance apart belong together.

    Args:
        series: noise to its correlation at distances 0, 1, 2, ... px.
    Returns:
        The figure.
    """
    figure = new_figure(title="Autocorrelation", x="distance, px", y="correlation")
    for k, (name, values) in enumerate(series.items()):
        figure.add_scatter(
            x=list(range(len(values))),
            y=[float(v) for v in values],
            mode=line_mode([float(v) for v in values]),
            name=name,
            line={"color": SERIES[k % len(SERIES)], "width": 2, "dash": _dash(k)},
            hovertemplate="%{y:.3f}",
        )
    return _room_for_names(figure, len(series))


def histogram(values: Mapping[str, np.ndarray], *, num_bins: int = 81) -> "Figure":
    """Draw how the values spread, beside the normal curve.

    Args:
        values: noise to its pixels, any shape.
        num_bins: bins between -4 and 4 deviations.
    Returns:
        The figure; an area of 1 under each curve.
    """
    figure = new_figure(title="Values", x="value", y="density")
    edges = np.linspace(-4, 4, num_bins + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    figure.add_scatter(
        x=middle,
        y=np.exp(-(middle**2) / 2) / np.sqrt(2 * np.pi),
        name="normal",
        line={"color": COLOURS["base"], "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )
    for k, (name, found) in enumerate(values.items()):
        density, _ = np.histogram(np.clip(found, -4, 4), bins=edges, density=True)
        figure.add_scatter(
            x=middle,
            y=_short(density),
            name=name,
            line={"color": SERIES[k % len(SERIES)], "width": 2, "dash": _dash(k)},
            hovertemplate="%{y:.3f}",
        )
    return _room_for_names(figure, len(values))


def statistics(rows: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Draw a table of numbers.

    Args:
        rows: noise to column to number; the first row's columns count, what a row lacks is empty.
    Returns:
        The table.
    """
    columns = list(next(iter(rows.values()), {}))
    cells = [list(rows)] + [
        [f"{row[c]:.3g}" if c in row else "" for row in rows.values()] for c in columns
    ]
    figure = new_figure(title="Numbers", x="", y="")
    figure.add_table(
        header={"values": ["", *columns], "align": "left", "fill_color": "rgba(128,134,145,0.18)"},
        cells={"values": cells, "align": "left", "fill_color": "rgba(0,0,0,0)", "height": 26},
    )
    figure.update_layout(height=120 + 28 * len(rows))
    return figure


def noised(rows: Mapping[str, Mapping[str, np.ndarray]]) -> "Figure":
    """Draw a picture under rising noise, decoded, one row a noise.

    Args:
        rows: noise to label (its timestep) to picture (H, W, 3), uint8; every row has the same
            labels.
    Returns:
        The figure.
    """
    from plotly.graph_objects import Image as Picture
    from plotly.subplots import make_subplots

    labels = list(next(iter(rows.values())))
    figure = make_subplots(
        rows=len(rows),
        cols=len(labels),
        horizontal_spacing=0.01,
        vertical_spacing=0.02 / len(rows),
        column_titles=labels,
        row_titles=list(rows) if len(rows) > 1 else None,
    )
    for r, pictures in enumerate(rows.values(), 1):
        for c, pixels in enumerate(pictures.values(), 1):
            figure.add_trace(Picture(source=_data_uri(pixels), hoverinfo="skip"), row=r, col=c)
    _as_pictures(figure, "A picture along the timesteps")
    figure.update_layout(height=90 + 170 * len(rows))
    if len(rows) > 1:
        figure.update_layout(margin={"r": 28})  # the rows' names stand there
    return figure


def _room_for_names(figure: "Figure", count: int) -> "Figure":
    """A phone has room for one name a line below the curves, which keep their height."""
    figure.update_layout(height=340 + 16 * max(0, count - 2), hovermode="closest")
    return figure


def _spectrum(
    values: np.ndarray,
    *,
    title: str,
    limits: tuple[float, float],
    colours: tuple[tuple[float, str], ...],
) -> "Figure":
    height, width = values.shape
    figure = new_figure(title=title, x="cycles across", y="cycles down")
    figure.add_heatmap(
        x=np.arange(width) - width // 2,
        y=np.arange(height) - height // 2,
        z=_short(values),
        zmin=limits[0],
        zmax=limits[1],
        colorscale=_scale(colours),
        colorbar={"thickness": 10, "outlinewidth": 0},
        hovertemplate="%{x}, %{y}: %{z:.2f}<extra></extra>",
    )
    figure.update_yaxes(scaleanchor="x", autorange="reversed", showgrid=False)
    figure.update_xaxes(constrain="domain")
    figure.update_layout(height=HEIGHT_PX + 60, hovermode="closest")
    return figure


def _as_pictures(figure: "Figure", title: str) -> "Figure":
    """The common look, without axes, pixels square."""
    style: Any = new_figure(title=title, x="", y="").layout
    layout = {key: style[key] for key in ("title", "font", "paper_bgcolor", "plot_bgcolor")}
    figure.update_layout(template=None, height=HEIGHT_PX, hovermode="closest", **layout)
    figure.update_layout(margin={"l": 8, "r": 8, "t": 72, "b": 8})  # names above the pictures
    figure.update_annotations(font={"size": 12, "color": INK})
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", constrain="domain")
    for k, axis in enumerate(figure.select_yaxes(), 1):
        axis.scaleanchor = f"x{k if k > 1 else ''}"
    return figure


def _data_uri(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _short(values: Numbers) -> np.ndarray:
    """Single precision: half the size in a page."""
    return np.asarray(values, dtype=np.float32)


def _scale(colours: tuple[tuple[float, str], ...]) -> list[list[float | str]]:
    return [list(stop) for stop in colours]


def _dash(number: int) -> str:
    """Colours come round again after six lines, dashes tell the rounds apart."""
    return ("solid", "dash", "dot")[number // len(SERIES) % 3]


def _ticks() -> list[str]:
    return ["mean", "1", "2", "4", "8", "16", "32", "64"]
