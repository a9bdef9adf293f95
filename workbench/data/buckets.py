"""Which size each picture is trained at, and an account of what that costs it.

A bucket is a size of nearly the same area as the others, its sides multiples of a step. A picture
goes to the bucket of the nearest aspect ratio, is resized to cover it and cropped in the centre.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from pydantic import model_validator

from workbench.settings import Settings, SettingsError, setting

__all__ = ["BucketSettings", "Placement", "place", "sizes", "why_excluded"]

Size = tuple[int, int]  # width, height in px


class BucketSettings(Settings):
    """The sizes that pictures are trained at."""

    resolution: int = setting(
        512,
        ge=16,
        le=4096,
        unit="px",
        basic=True,
        help="side of the square whose area all buckets keep to: 512 for SD1.5, 1024 for SDXL",
    )
    step: int = setting(
        64,
        ge=8,
        le=256,
        unit="px",
        help="sides are multiples of this: 64 as the models were trained, 32 cuts off less",
    )
    min_side: int | None = setting(
        None, ge=8, unit="px", help="shortest side of a bucket; left out, half the resolution"
    )
    max_side: int | None = setting(
        None, ge=8, unit="px", help="longest side of a bucket; left out, twice the resolution"
    )
    enabled: bool = setting(
        True, basic=True, help="keep aspect ratios; off, all pictures are cut to the square"
    )
    upscale: bool = setting(
        True,
        help="enlarge small pictures to their bucket; off, they keep their size, cut to the step",
    )
    max_upscale: float = setting(
        4.0, ge=1, help="a picture that would have to grow more than this is set aside"
    )
    max_lost: float = setting(
        0.5, gt=0, le=1, help="a picture that would lose more than this share is set aside"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "BucketSettings":
        if self.resolution < self.step:
            raise ValueError(
                f"resolution must be at least one step of {self.step} px, got {self.resolution}"
            )
        low, high = self.bounds
        if low > self.resolution or high < self.resolution or high < low:
            raise ValueError(
                "min_side <= resolution <= max_side must hold, "
                f"got {low}, {self.resolution}, {high}"
            )
        return self

    @property
    def bounds(self) -> Size:
        """Shortest and longest side of a bucket in px."""
        low = self.min_side if self.min_side is not None else self.resolution // 2
        high = self.max_side if self.max_side is not None else self.resolution * 2
        return max(low, self.step), high


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture becomes its bucket's size."""

    bucket: Size
    resized: Size  # covers the bucket
    crop: tuple[int, int, int, int]  # left, top, width, height in px of the resized picture
    scale: float  # resized over original
    lost: float  # share of the picture that the crop takes away, 0 to 1

    def source_box(self, size: Size) -> tuple[float, float, float, float]:
        """The crop in px of the picture itself, so that only what stays need be resized.

        Args:
            size: width and height of the picture, or of what has its shape, such as its mask.
        Returns:
            Left, top, right, bottom.
        """
        left, top, width, height = self.crop
        across, down = size[0] / self.resized[0], size[1] / self.resized[1]
        return left * across, top * down, (left + width) * across, (top + height) * down

    def crop_corner(self, *, flipped: bool = False) -> tuple[int, int]:
        """The crop's left and top as the model is told them; a mirrored picture mirrors the left.

        Args:
            flipped: the picture is mirrored.
        Returns:
            Left and top in px of the resized picture.
        """
        left, top, width, _ = self.crop
        return (self.resized[0] - width - left if flipped else left), top


def sizes(settings: BucketSettings) -> tuple[Size, ...]:
    """List the buckets.

    Args:
        settings: area, step and bounds.
    Returns:
        (width, height) pairs, sorted.
    Source: kohya sd-scripts `make_bucket_resolutions`.
    """
    if not settings.enabled:
        side = settings.resolution // settings.step * settings.step
        return ((side, side),)
    return _sizes(settings.resolution, settings.step, settings.bounds)


@lru_cache
def _sizes(resolution: int, step: int, bounds: Size) -> tuple[Size, ...]:
    low, high = bounds
    side = resolution // step * step
    found = {(side, side)}
    first = -(-low // step) * step
    for width in range(first, high + 1, step):
        height = min(high, resolution * resolution // width) // step * step
        if height >= low:
            found |= {(width, height), (height, width)}
    return tuple(sorted(found))


def place(width: int, height: int, settings: BucketSettings) -> Placement:
    """Give a picture its bucket.

    Args:
        width: of the upright picture, px, >= 1.
        height: likewise.
        settings: which buckets there are.
    Returns:
        Bucket, resize and centre crop.
    Raises:
        SettingsError: a side is below 1.
    Source: kohya sd-scripts `BucketManager.select_bucket`.
        Differs: aspect ratios are compared by their logarithms; their difference favours landscape.
    """
    if min(width, height) < 1:
        raise SettingsError(f"a picture's sides must be at least 1 px, got {width} x {height}")
    bucket = _nearest(width, height, sizes(settings))
    scale = max(bucket[0] / width, bucket[1] / height)
    if scale > 1 and not settings.upscale:
        step = settings.step
        own = (width // step * step, height // step * step)
        # A picture below one step has no size of its own; it is enlarged, and judged for that.
        bucket, scale = (own, 1.0) if min(own) else (bucket, scale)
    resized = (max(bucket[0], round(width * scale)), max(bucket[1], round(height * scale)))
    left, top = (resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2
    lost = 1 - bucket[0] * bucket[1] / (resized[0] * resized[1])
    return Placement(bucket, resized, (left, top, *bucket), scale, lost)


def _nearest(width: int, height: int, buckets: tuple[Size, ...]) -> Size:
    """The bucket of exactly this size, else of the nearest aspect ratio, the larger where equal."""
    if (width, height) in buckets:
        return width, height
    aspect = math.log(width / height)
    return min(buckets, key=lambda b: (abs(math.log(b[0] / b[1]) - aspect), -b[0] * b[1], b))


def why_excluded(placement: Placement, settings: BucketSettings) -> str | None:
    """Say why a picture is of no use at its bucket's size.

    Args:
        placement: from `place`.
        settings: the limits.
    Returns:
        The reason with its fix, or None where the picture may stay.
    """
    width, height = placement.bucket
    if placement.lost > settings.max_lost:
        return (
            f"the crop to {width} x {height} would cut off {placement.lost:.1%} of it, more than "
            f"buckets.max_lost = {settings.max_lost:g}; crop it yourself"
        )
    if placement.scale > settings.max_upscale:
        return (
            f"it would be enlarged {placement.scale:.1f} times to {width} x {height}, more than "
            f"buckets.max_upscale = {settings.max_upscale:g}; use a larger picture"
        )
    return None
