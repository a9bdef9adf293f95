"""What happens to pixels between the file and the autoencoder."""

import math
import random
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import model_validator
from torch import Tensor

from workbench.data.buckets import Placement
from workbench.settings import Settings, setting

__all__ = ["AugmentSettings", "Box", "Look", "fit", "look", "recolour"]

Box = tuple[float, float, float, float]  # left, top, width, height in px of the upright picture
# RGB to brightness and two axes of colour (NTSC's YIQ): hue is an angle, saturation a length.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


class AugmentSettings(Settings):
    """How pictures vary from showing to showing.

    Flip is compatible with cached latents: pictures are flipped before they are encoded and both
    versions are cached, since a flipped latent is not the latent of a flipped picture. Colour and
    crop give new pixels at each showing, which no cache holds: they need `cache.latents = false`.
    """

    flip: float = setting(
        0.0,
        ge=0,
        le=1,
        basic=True,
        help="probability of mirroring left and right; 0 for characters with a left and a right",
    )
    colour: float = setting(
        0.0,
        ge=0,
        le=1,
        help="probability of changing hue, saturation and gamma a little; needs cache.latents off",
    )
    hue: float = setting(
        8.0, ge=0, le=180, unit="degrees", help="largest turn of the colour circle, either way"
    )
    saturation: float = setting(
        0.1, ge=0, le=1, help="largest change of saturation: 0.1 is 0.9 to 1.1 times"
    )
    gamma: float = setting(
        0.05, ge=0, le=0.9, help="largest change of gamma: 0.05 is an exponent of 0.95 to 1.05"
    )
    crop: Literal["centre", "random", "box"] = setting(
        "centre",
        help="which part a picture is cut to: its centre, any part, or one that holds its box "
        "(a face, from the metadata or the file name); the latter two need cache.latents off",
    )
    zoom: float = setting(
        1.0, ge=1, le=8, help="largest enlargement before a random or box crop; 1: the bucket's own"
    )

    @model_validator(mode="after")
    def _zoom_has_a_crop(self) -> "AugmentSettings":
        if self.zoom > 1 and self.crop == "centre":
            raise ValueError(
                f"zoom = {self.zoom:g} works with crop = 'random' or 'box' alone; set one of them"
            )
        return self

    @property
    def changes_pixels(self) -> bool:
        """Whether a showing has pixels that no cached latent was made from."""
        return self.colour > 0 or self.crop != "centre"


@dataclass(frozen=True, slots=True)
class Look:
    """How one showing of a picture differs from the picture.

    Attributes:
        placement: its crop.
        hue: turn of the colour circle in degrees.
        saturation: factor of the distance from grey.
        gamma: exponent of the brightness.
    """

    placement: Placement
    hue: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0

    @property
    def recoloured(self) -> bool:
        """Whether its colours are not the file's."""
        return (self.hue, self.saturation, self.gamma) != (0.0, 1.0, 1.0)


def look(
    settings: AugmentSettings,
    placement: Placement,
    rng: random.Random,
    *,
    box: Box | None = None,
) -> Look:
    """Draw how a picture is shown this time.

    Args:
        settings: what may vary.
        placement: the picture's own, cropped in the centre.
        rng: source of all randomness.
        box: what a `box` crop must hold, in px of the picture; without one it stays in the centre.
    Returns:
        Crop and colours.
    Source: kohya sd-scripts `crop_target` and `ColorAugHelper`.
        Differs: a box crop lies anywhere that holds the whole box and never enlarges the box beyond
        the crop; colours change in linear steps of YIQ, so that grey stays grey.
    """
    if settings.crop == "random" or (settings.crop == "box" and box is not None):
        placement = _crop(placement, settings, rng, box=box if settings.crop == "box" else None)
    if settings.colour == 0 or rng.random() >= settings.colour:
        return Look(placement)
    return Look(
        placement,
        hue=rng.uniform(-settings.hue, settings.hue),
        saturation=rng.uniform(1 - settings.saturation, 1 + settings.saturation),
        gamma=rng.uniform(1 - settings.gamma, 1 + settings.gamma),
    )


def _crop(
    placement: Placement, settings: AugmentSettings, rng: random.Random, *, box: Box | None
) -> Placement:
    """Enlarge the picture and cut a part out of it, one that holds the box where there is one."""
    scaled = tuple(side * placement.scale for side in box or ())
    most = settings.zoom
    if scaled:
        fits = min(side / length for side, length in zip(placement.bucket, scaled[2:], strict=True))
        most = max(1.0, min(most, fits))
    zoom = rng.uniform(1, most)
    resized = tuple(round(side * zoom) for side in placement.resized)
    corner = []
    for axis, (side, length) in enumerate(zip(placement.bucket, resized, strict=True)):
        low, high = 0, length - side
        if scaled:
            start, size = scaled[axis] * zoom, scaled[axis + 2] * zoom
            holds = max(0, math.ceil(start + size - side)), min(high, math.floor(start))
            middle = max(0, min(high, round(start + size / 2 - side / 2)))
            low, high = holds if holds[0] <= holds[1] else (middle, middle)
        corner.append(rng.randint(low, high))
    area = placement.bucket[0] * placement.bucket[1]
    return replace(
        placement,
        resized=resized,
        crop=(*corner, *placement.bucket),
        scale=placement.scale * zoom,
        lost=1 - area / (resized[0] * resized[1]),
    )


def recolour(pixels: Tensor, *, hue: float, saturation: float, gamma: float) -> Tensor:
    """Change a picture's colours; what leaves the range of colours is cut off at its border.

    Args:
        pixels: (..., 3, H, W) in [-1, 1].
        hue: turn of the colour circle in degrees.
        saturation: factor of the distance from grey, >= 0.
        gamma: exponent of the brightness, > 0; above 1 is darker.
    Returns:
        Pixels of the same shape and range.
    """
    angle = math.radians(hue)
    cos, sin = saturation * math.cos(angle), saturation * math.sin(angle)
    turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    matrix = (torch.linalg.inv(_YIQ.double()) @ turn @ _YIQ.double()).to(pixels.dtype)
    light = (pixels / 2 + 0.5).clamp(0, 1) ** gamma
    turned = torch.einsum("rc,...chw->...rhw", matrix, light)
    return turned.clamp(0, 1) * 2 - 1


def fit(image: Image.Image, placement: Placement, *, flipped: bool = False) -> Tensor:
    """Resize and crop a picture to its bucket.

    Args:
        image: upright RGB picture.
        placement: where it goes.
        flipped: mirror left and right.
    Returns:
        Pixels in [-1, 1], float32, (3, H, W) of the bucket.
    """
    return to_tensor(cut(image, placement), flipped=flipped)


def cut(image: Image.Image, placement: Placement) -> Image.Image:
    """Resize and crop a picture to its bucket, as a picture still.

    Args:
        image: upright.
        placement: where it goes.
    Returns:
        A picture of the bucket's size.
    """
    # Resizing the cropped part alone gives the same pixels and skips what would be cut off.
    box = placement.source_box(image.size)
    shrinks = placement.scale <= 1
    filter_ = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    if image.size != placement.bucket or placement.resized != placement.bucket:
        image = image.resize(placement.bucket, filter_, box=box)
    return image


def to_tensor(image: Image.Image, *, flipped: bool = False) -> Tensor:
    """Make pixels of a picture.

    Args:
        image: RGB.
        flipped: mirror left and right.
    Returns:
        Pixels in [-1, 1], float32, (3, H, W).
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)  # (3, H, W)
    if flipped:
        pixels = pixels.flip(-1)
    return pixels.float().div_(127.5).sub_(1).contiguous()
