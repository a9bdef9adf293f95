"""Contact sheets without plotly: arrays in, one picture out, for files, documents and terminals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log10

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from workbench.plots.theme import COLOURS

PAPER, INK, SOFT, LINE = "#faf9f6", "#1c1e22", "#63686f", "#dedad0"
PANEL_PX, GAP_PX, MARGIN_PX, CAPTION_PX = 128, 10, 24, 20  # twice the side of 64 latents
_ENLARGED = 3  # curves are drawn three times as large and scaled down, which smooths them
Stops = Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of panels with its heading.

    Attributes:
        title: in bold; empty for a row that continues the one above.
        text: beside the title, in grey.
        panels: caption to picture; all are scaled to one height.
    """

    title: str
    text: str
    panels: Sequence[tuple[str, Image.Image]]


def paint(
    values: np.ndarray, *, limits: tuple[float, float], colours: Stops, side_px: int = PANEL_PX
) -> Image.Image:
    """Turn numbers into colours.

    Args:
        values: (H, W).
        limits: values that get the first and the last colour; beyond them nothing changes.
        colours: place in [0, 1] and colour of each stop, rising.
        side_px: height of the picture; pixels stay squares where they fit.
    Returns:
        RGB picture.
    """
    low, high = limits
    place = np.clip((np.nan_to_num(values, neginf=low, posinf=high) - low) / (high - low), 0, 1)
    stops = [stop for stop, _ in colours]
    table = np.array([ImageColor.getrgb(colour)[:3] for _, colour in colours])
    rgb = np.stack([np.interp(place, stops, table[:, c]) for c in range(3)], axis=-1)
    image = Image.fromarray(rgb.round().astype(np.uint8))
    return _to_height(image, side_px)


def curve(
    values: Sequence[float],
    *,
    limits: tuple[float, float],
    points: Mapping[int, float] | None = None,
    side_px: int = PANEL_PX,
) -> Image.Image:
    """Draw power over frequency, both logarithmic, with the level of white noise.

    Args:
        values: power at k = 0, 1, 2, ...; the first, which has no place on such an axis, is a dot
            at the left edge.
        limits: decimal logarithms of the lowest and the highest power shown.
        points: further values by k, drawn as rings.
        side_px: height; the picture is 1.6 times as wide.
    Returns:
        RGB picture.
    """
    scale = _ENLARGED
    width, height = round(1.6 * side_px) * scale, side_px * scale
    image = Image.new("RGB", (width, height), "#ffffff")
    pen = ImageDraw.Draw(image)
    octaves = log10(max(len(values) - 1, 2))

    def place(k: int, power: float) -> tuple[float, float]:
        x = (0.04 if k == 0 else 0.12 + 0.84 * log10(k) / octaves) * width
        decade = log10(max(power, 1e-9))
        share = (min(max(decade, limits[0]), limits[1]) - limits[0]) / (limits[1] - limits[0])
        return x, (0.96 - 0.92 * share) * height

    for decade in range(round(limits[0]), round(limits[1]) + 1):
        y = place(1, 10.0**decade)[1]
        weight = 2 if decade == 0 else 1
        pen.line((0, y, width, y), fill=SOFT if decade == 0 else LINE, width=weight * scale // 2)
    line = [place(k, float(v)) for k, v in enumerate(values) if k > 0]
    pen.line(line, fill=COLOURS["trained"], width=2 * scale, joint="curve")
    _dot(pen, place(0, float(values[0])), 3.5 * scale, fill=COLOURS["trained"])
    for k, power in (points or {}).items():
        _dot(
            pen, place(k, power), 4.5 * scale, outline=COLOURS["held out"], width=round(1.5 * scale)
        )
    pen.rectangle((0, 0, width - 1, height - 1), outline=LINE, width=scale)
    return image.resize((width // scale, height // scale), Image.Resampling.LANCZOS)


def contact_sheet(rows: Sequence[Row], *, title: str = "", text: str = "") -> Image.Image:
    """Put rows of panels on one page.

    Args:
        rows: from top to bottom.
        title: of the page.
        text: below the title.
    Returns:
        RGB picture, as wide as the widest row.
    """
    fitted = [[(label, _to_height(x, PANEL_PX)) for label, x in row.panels] for row in rows]
    widths = [sum(x.width + GAP_PX for _, x in panels) - GAP_PX for panels in fitted]
    heading = (44 if title else 0) + (26 if text else 0)
    heights = [PANEL_PX + CAPTION_PX + (34 if row.title else 6) for row in rows]
    size = (max(widths, default=0) + 2 * MARGIN_PX, heading + sum(heights) + 2 * MARGIN_PX)
    page = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(page)
    y = MARGIN_PX
    if title:
        pen.text((MARGIN_PX, y), title, fill=INK, font=_font(28))
        y += 44
    if text:
        pen.text((MARGIN_PX, y), text, fill=SOFT, font=_font(15))
        y += 26
    for row, panels, height in zip(rows, fitted, heights, strict=True):
        _draw_row(page, row, panels, y)
        y += height
    return page


def _draw_row(
    page: Image.Image, row: Row, panels: Sequence[tuple[str, Image.Image]], y: int
) -> None:
    pen, x = ImageDraw.Draw(page), MARGIN_PX
    if row.title:
        pen.text((x, y + 2), row.title, fill=INK, font=_font(17))
        start = x + pen.textlength(row.title, font=_font(17)) + 12
        pen.text((start, y + 5), row.text, fill=SOFT, font=_font(14))
    y += 28 if row.title else 0
    for label, image in panels:
        page.paste(image, (x, y))
        pen.text((x, y + image.height + 3), label, fill=SOFT, font=_font(12))
        x += image.width + GAP_PX


def _to_height(image: Image.Image, height: int) -> Image.Image:
    """Enlarged by whole pixels as far as that goes, and shrunk smoothly."""
    if image.height == height:
        return image
    width = round(image.width * height / image.height)
    if image.height < height:
        times = -(-height // image.height)
        image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return image.resize((width, height), Image.Resampling.BOX)


def _dot(
    pen: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, **style: object
) -> None:
    x, y = centre
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), **style)  # pyright: ignore[reportArgumentType]


def _font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    return ImageFont.load_default(size)
