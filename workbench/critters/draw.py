"""Draw critters: attributes in, a picture out, the same picture every time.

Everything is bold on purpose. The autoencoder shrinks a picture eight times, so a part narrower
than about three pixels at 128 px would be lost to everything that learns from these pictures.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw

from workbench.critters.attributes import (
    BACKGROUND_COLOURS,
    BODY_COLOURS,
    Attributes,
    caption,
    sample_attributes,
)
from workbench.critters.pen import CREAM, INK, Colour, Pen, Point, mix

SUPERSAMPLING = 3
WORLD_SIZES = ((128, 128), (144, 112), (112, 144), (160, 96), (96, 160))  # (width, height)
# Half the body's height as a share of the picture's shorter side.
RADIUS = {"small": 0.195, "medium": 0.24, "big": 0.29}
CENTRE = {"left": 0.34, "centre": 0.5, "right": 0.66}


@dataclass(frozen=True)
class Anatomy:
    """Where parts sit on a body shape, in units of the body's radius, y downwards."""

    outline: tuple[Point, ...]
    rounding: float  # radius of the rounded corners
    ear: Point  # foot of the right ear
    ear_lean: float  # how far an ear leans outwards, radians
    hat_y: float
    face_y: float
    face_width: float
    foot: Point | None


def _ellipse(half_width: float, half_height: float) -> tuple[Point, ...]:
    angles = [2 * pi * step / 48 for step in range(48)]
    return tuple((half_width * cos(a), half_height * sin(a)) for a in angles)


def _star(outer: float, inner: float) -> tuple[Point, ...]:
    radii = [outer if step % 2 == 0 else inner for step in range(10)]
    return tuple((r * sin(pi * i / 5), -r * cos(pi * i / 5)) for i, r in enumerate(radii))


SQUARE = ((-0.72, -0.72), (0.72, -0.72), (0.72, 0.72), (-0.72, 0.72))
TRIANGLE = ((0.0, -0.95), (0.95, 0.72), (-0.95, 0.72))
ANATOMY = {
    "round": Anatomy(_ellipse(1, 1), 0, (0.6, -0.72), 0.45, -0.9, -0.12, 1.0, (0.42, 0.95)),
    "square": Anatomy(SQUARE, 0.2, (0.62, -0.86), 0.25, -0.84, -0.12, 1.0, (0.45, 0.95)),
    "triangle": Anatomy(TRIANGLE, 0.2, (0.42, -0.42), 0.85, -0.88, 0.22, 0.85, (0.5, 0.95)),
    "star": Anatomy(_star(1.2, 0.74), 0.1, (0.4, -0.62), 0.6, -1.0, -0.02, 0.95, None),
    "tall": Anatomy(_ellipse(0.74, 1.12), 0, (0.4, -0.9), 0.3, -1.04, -0.26, 0.8, (0.32, 1.05)),
    "wide": Anatomy(_ellipse(1.26, 0.8), 0, (0.8, -0.56), 0.5, -0.7, -0.1, 1.15, (0.55, 0.72)),
}


# A part is drawn by a function of the pen, the attributes and the body's anatomy.
Part = Callable[[Pen, Attributes, Anatomy], None]


def _background(image: Image.Image, attributes: Attributes, rng: random.Random) -> None:
    colour = BACKGROUND_COLOURS[attributes.background]
    width, height = image.size
    canvas = ImageDraw.Draw(image)
    shorter = min(width, height)
    if attributes.scene == "hills":
        for share, x, y in ((0.16, 0.2, 1.02), (0.32, 0.85, 1.1)):
            x, half = (x + rng.uniform(-0.12, 0.12)) * width, 0.62 * width
            box = (x - half, y * height - 0.42 * height, x + half, y * height + 0.6 * height)
            canvas.ellipse(box, fill=mix(colour, INK, share))
    elif attributes.scene == "sunset":
        _sunset(image, colour, sun_x=rng.choice((0.17, 0.83)))
    elif attributes.scene == "checkered":
        tile, top = shorter / 8, round(height * 0.68)
        shades = (mix(colour, INK, 0.38), mix(colour, CREAM, 0.45))
        for row in range(int((height - top) / tile) + 1):
            for column in range(int(width / tile) + 1):
                x, y = column * tile, top + row * tile
                canvas.rectangle((x, y, x + tile, y + tile), fill=shades[(row + column) % 2])
    elif attributes.scene == "dots":
        step, radius = shorter / 6.4, shorter / 22
        for row in range(int(height / step) + 2):
            for column in range(int(width / step) + 2):
                x, y = (column + 0.5 * (row % 2)) * step, (row + 0.4) * step
                box = (x - radius, y - radius, x + radius, y + radius)
                canvas.ellipse(box, fill=mix(colour, CREAM, 0.8))


def _sunset(image: Image.Image, colour: Colour, *, sun_x: float) -> None:
    width, height = image.size
    share = np.clip((np.linspace(0, 1, height) - 0.35) / 0.65, 0, 1)[:, None]
    rows = np.asarray(colour) * (1 - share) + np.asarray((255, 166, 92)) * share
    rows = np.repeat(rows[:, None], width, axis=1)
    image.paste(Image.fromarray(rows.round().astype(np.uint8)))
    x, y, radius = sun_x * width, 0.76 * height, 0.15 * min(width, height)
    sun = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(sun, fill=(255, 238, 150))


def _ears(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    colour = BODY_COLOURS[attributes.colour]
    for side in (-1, 1):
        lean = body.ear_lean * side

        def leaning(points: Sequence[Point], side: int = side, lean: float = lean) -> list[Point]:
            x0, y0 = body.ear[0] * side, body.ear[1]
            turned = [
                (x * cos(lean) - y * sin(lean), x * sin(lean) + y * cos(lean)) for x, y in points
            ]
            return [(x0 + x, y0 + y) for x, y in turned]

        if attributes.ears == "cat":
            pen.blob(leaning([(-0.3, 0.2), (0, -0.5), (0.3, 0.2)]), colour, 0.06)
            pen.swell(leaning([(-0.13, 0.1), (0, -0.28), (0.13, 0.1)]), (255, 170, 180), 0.02)
        elif attributes.ears == "bunny":
            long = [(x, y - 0.42) for x, y in _ellipse(0.22, 0.6)]
            inner = [(x, y - 0.42) for x, y in _ellipse(0.1, 0.44)]
            pen.blob(leaning(long), colour)
            pen.swell(leaning(inner), (255, 170, 180), 0)
        elif attributes.ears == "horns":
            horn = [(-0.2, 0.15), (-0.1, -0.25), (0.14 * side, -0.62), (0.2, 0.15)]
            pen.blob(leaning(horn), (252, 236, 190), 0.03)
        elif attributes.ears == "antennae":
            pen.path(leaning([(0, 0.2), (0, -0.55)]), INK, 0.14)
            ((x, y),) = leaning([(0, -0.62)])
            pen.disc((x, y), (0.17, 0.17), (255, 226, 64))


def _body(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    colour = BODY_COLOURS[attributes.colour]
    if body.foot:
        for side in (-1, 1):
            pen.disc((side * body.foot[0], body.foot[1]), (0.27, 0.17), colour)
    pen.blob(body.outline, colour, body.rounding)
    if attributes.pattern == "none":
        return
    # Patterns are painted on a layer and pasted through the body's own silhouette.
    mask = Image.new("L", pen.image.size)
    stencil = Pen(mask, pen.centre, pen.unit_px)
    stencil.swell(body.outline, 255, body.rounding)  # type: ignore[arg-type]
    bright = sum(colour) > 540
    shade = mix(colour, (0, 0, 0), 0.3) if bright else mix(colour, (255, 255, 255), 0.52)
    layer = Pen(Image.new("RGB", pen.image.size, colour), pen.centre, pen.unit_px)
    _pattern(layer, attributes, shade)
    pen.image.paste(layer.image, mask=mask)


def _pattern(pen: Pen, attributes: Attributes, shade: Colour) -> None:
    rng = random.Random(attributes.detail_seed + 1)
    if attributes.pattern == "stripes":
        for y in (-0.92, -0.38, 0.16, 0.7):
            pen.swell([(-1.6, y), (1.6, y), (1.6, y + 0.26), (-1.6, y + 0.26)], shade, 0)
    elif attributes.pattern == "spots":
        for x, y in ((-0.8, -0.5), (0.75, -0.62), (-0.72, 0.32), (0.74, 0.22), (0.3, 0.78),
                     (-0.24, 0.84), (0.02, -0.82)):  # fmt: skip
            radius = rng.uniform(0.15, 0.22)
            x, y = x * 0.86 + rng.uniform(-0.08, 0.08), y + rng.uniform(-0.08, 0.08)
            pen.disc((x, y), (radius, radius), shade, ink=False)
    elif attributes.pattern == "belly":
        pen.disc((0, 0.72), (0.56, 0.62), shade, ink=False)


def _eyes(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    radius, gap = {1: (0.34, 0.0), 2: (0.25, 0.66), 3: (0.19, 0.54)}[attributes.eyes]
    gap *= max(body.face_width, 0.9)
    for index in range(attributes.eyes):
        x = gap * (index - (attributes.eyes - 1) / 2)
        y = body.face_y - 0.1
        pen.disc((x, y), (radius, radius), (255, 255, 255))
        pen.disc((x, y + 0.02), (radius * 0.55, radius * 0.55), INK, ink=False)
        shine = radius * 0.2
        pen.disc((x - shine, y - shine), (shine, shine), (255, 255, 255), ink=False)


def _mouth(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    y = body.face_y + 0.46
    half = 0.36
    if attributes.mouth in ("smile", "frown"):
        bend = 0.2 if attributes.mouth == "smile" else -0.2
        steps = [step / 8 - 1 for step in range(17)]
        pen.path([(half * t, y + bend * (0.5 - t * t)) for t in steps], INK, 0.13)
    elif attributes.mouth == "open":
        pen.disc((0, y + 0.02), (0.2, 0.2), (140, 24, 40))
        pen.disc((0, y + 0.12), (0.12, 0.09), (248, 120, 130), ink=False)
    elif attributes.mouth == "teeth":
        top, bottom = y - 0.12, y + 0.14
        pen.blob([(-half, top), (half, top), (half, bottom), (-half, bottom)], (255, 255, 255))
        for x in (-half / 2.6, half / 2.6):
            pen.path([(x, top), (x, bottom)], INK, 0.08)


def _hat(pen: Pen, attributes: Attributes, body: Anatomy) -> None:
    y = body.hat_y
    if attributes.hat == "top hat":
        pen.blob([(-0.34, y - 0.66), (0.34, y - 0.66), (0.32, y), (-0.32, y)], (62, 54, 78))
        pen.swell([(-0.33, y - 0.26), (0.33, y - 0.26), (0.32, y), (-0.32, y)], (232, 56, 64), 0)
        pen.blob([(-0.56, y), (0.56, y), (0.56, y + 0.06), (-0.56, y + 0.06)], (62, 54, 78), 0.04)
    elif attributes.hat == "bow":
        for side in (-1, 1):
            wing = [(0, y), (0.5 * side, y - 0.26), (0.5 * side, y + 0.26)]
            pen.blob(wing, (255, 64, 140), 0.05)
        pen.disc((0, y), (0.15, 0.15), (255, 150, 190))
    elif attributes.hat == "crown":
        top, low = y - 0.5, y + 0.1
        points = [(-0.5, low), (-0.56, top), (-0.26, y - 0.16), (0, top - 0.08), (0.26, y - 0.16),
                  (0.56, top), (0.5, low)]  # fmt: skip
        pen.blob(points, (255, 206, 48), 0.03)
        for x in (-0.26, 0.0, 0.26):
            pen.disc((x, y - 0.04), (0.07, 0.07), (224, 60, 80), ink=False)


PARTS: tuple[Part, ...] = (_ears, _body, _eyes, _mouth, _hat)


def draw(
    attributes: Attributes,
    width: int,
    height: int,
    *,
    parts: Sequence[Part] = PARTS,
    backdrop: Callable[[Image.Image, Attributes, random.Random], None] = _background,
) -> Image.Image:
    """Paint one critter.

    Args:
        attributes: what to show.
        width: pixels, at least 16, a multiple of 16.
        height: pixels, at least 16, a multiple of 16.
        parts: what is painted on the background, in this order; a concept adds its own.
        backdrop: paints the scene on an image that is already filled with the background colour.
    Returns:
        RGB picture of that size.
    Raises:
        ValueError: a side is no positive multiple of 16.
    """
    for name, side in (("width", width), ("height", height)):
        if side < 16 or side % 16:
            raise ValueError(f"{name} must be a positive multiple of 16 pixels, got {side}")
    rng = random.Random(attributes.detail_seed)
    scale = SUPERSAMPLING
    canvas = (width * scale, height * scale)
    image = Image.new("RGB", canvas, BACKGROUND_COLOURS[attributes.background])
    backdrop(image, attributes, rng)
    x = (CENTRE[attributes.position] + rng.uniform(-0.025, 0.025)) * canvas[0]
    y = (0.575 + rng.uniform(-0.02, 0.02)) * canvas[1]
    unit = RADIUS[attributes.size] * rng.uniform(0.96, 1.04) * min(canvas)
    pen = Pen(image, (x, y), unit)
    for part in parts:
        part(pen, attributes, ANATOMY[attributes.shape])
    return image.reduce(scale)


def plan(
    seed: int, index: int, sizes: Sequence[tuple[int, int]] = WORLD_SIZES
) -> tuple[Attributes, int, int]:
    """Say what picture number `index` of a world is without drawing it.

    Args:
        seed: which world.
        index: which picture, >= 0.
        sizes: (width, height) pairs to choose from, multiples of 16.
    Returns:
        Attributes, width and height, a function of the arguments alone.
    """
    rng = random.Random(f"critters {seed} {index}")
    attributes = sample_attributes(rng)
    width, height = rng.choice(list(sizes))
    return attributes, width, height


def world(
    seed: int, index: int, sizes: Sequence[tuple[int, int]] = WORLD_SIZES
) -> tuple[Image.Image, str]:
    """Draw picture number `index` of an endless, repeatable set.

    Args:
        seed: which world.
        index: which picture, >= 0.
        sizes: (width, height) pairs to choose from, multiples of 16.
    Returns:
        RGB picture and its caption.
    """
    attributes, width, height = plan(seed, index, sizes)
    return draw(attributes, width, height), caption(attributes)


def stream(
    seed: int, start: int, stop: int, sizes: Sequence[tuple[int, int]] = ((128, 128),)
) -> Iterator[tuple[np.ndarray, str]]:
    """Draw a stretch of a world as arrays, ready to be stacked.

    Args:
        seed: which world.
        start: first picture.
        stop: one past the last picture.
        sizes: (width, height) pairs to choose from; one size makes the arrays stackable.
    Yields:
        Picture as uint8 (height, width, 3) and its caption.
    """
    for index in range(start, stop):
        image, text = world(seed, index, sizes)
        yield np.asarray(image), text
