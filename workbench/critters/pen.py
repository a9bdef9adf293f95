"""A pen that draws bold, outlined shapes in a creature's own coordinates."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (34, 28, 40)
CREAM: Colour = (250, 240, 214)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours.

    Args:
        first: RGB, 0 to 255.
        second: RGB, 0 to 255.
        share: share of the second colour, 0 to 1.
    Returns:
        RGB between them.
    """
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


class Pen:
    """Draws in a critter's own coordinates: origin at its middle, unit its radius, y downwards."""

    def __init__(self, image: Image.Image, centre: Point, unit_px: float) -> None:
        """Place the origin on an image.

        Args:
            image: what is drawn on, already supersampled.
            centre: origin in pixels of that image.
            unit_px: length of one unit in pixels.
        """
        self.image = image
        self.canvas = ImageDraw.Draw(image)
        self.centre = centre
        self.unit_px = unit_px
        self.line = 0.1  # thickness of an outline

    def at(self, points: Sequence[Point]) -> list[Point]:
        """Turn units into pixels."""
        (x0, y0), unit = self.centre, self.unit_px
        return [(x0 + x * unit, y0 + y * unit) for x, y in points]

    def path(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw an open line with round ends and joints."""
        pixels, px = self.at(points), width * self.unit_px
        self.canvas.line(pixels, fill=colour, width=max(1, round(px)), joint="curve")
        for x, y in (pixels[0], pixels[-1]):
            self.canvas.ellipse((x - px / 2, y - px / 2, x + px / 2, y + px / 2), fill=colour)

    def blob(self, points: Sequence[Point], colour: Colour, rounding: float = 0.0) -> None:
        """Fill a polygon, its corners rounded and an outline of ink around it."""
        for growth, paint in ((rounding + self.line, INK), (rounding, colour)):
            self.swell(points, paint, growth)

    def swell(self, points: Sequence[Point], colour: Colour, growth: float) -> None:
        """Fill a polygon grown by a distance on every side, which rounds its corners."""
        pixels, px = self.at(points), growth * self.unit_px
        self.canvas.polygon(pixels, fill=colour)
        if growth:
            closed = [*pixels, pixels[0], pixels[1]]
            self.canvas.line(closed, fill=colour, width=round(2 * px), joint="curve")

    def disc(self, middle: Point, size: Point, colour: Colour, *, ink: bool = True) -> None:
        """Fill an ellipse of half-width and half-height `size`, outlined unless told otherwise."""
        for growth, paint in ((self.line, INK), (0.0, colour)):
            if growth and not ink:
                continue
            (x, y), a, b = middle, size[0] + growth, size[1] + growth
            (left, top), (right, bottom) = self.at([(x - a, y - b), (x + a, y + b)])
            self.canvas.ellipse((left, top, right, bottom), fill=paint)
