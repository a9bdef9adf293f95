"""Noise of several scales: white noise plus coarser copies of itself, in three published forms.

All three add to white noise, at level i = 0, 1, 2, ..., discount^i times white noise of a smaller
side, enlarged bilinearly. Level 0 has the full side, so it is one more draw of white noise; two
draws of weight one are here one draw of weight sqrt(2), which is the same noise in half the time.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from workbench.diffusion.noise.base import NoiseSettings, add_interpolated, rows, uniform
from workbench.settings import setting

_TWO_DRAWS = 2**0.5
_WHITAKER_LEVELS = 10


class Pyramid(NoiseSettings):
    """White noise plus coarser copies of itself, so that low frequencies are trained too.

    Source: Whitaker 2023, "Multi-resolution noise for diffusion model training", in the variant of
    sd-scripts: level i is a draw at side / r^i, r anew from [2, 4].
    Differs: each sample has scales of its own and is brought to unit variance by itself; the
    published code divides by the whole batch's deviation, so that one picture's noise depends on
    its neighbours: per-picture deviations then spread by 1 to 4 %.
    """

    kind: Literal["pyramid"] = "pyramid"
    discount: float = setting(
        0.4, ge=0, lt=1, basic=True, help="weight ratio of each coarser level; 0 is white noise"
    )
    levels: int = setting(6, ge=1, le=10, help="most scales that are added; it ends at one pixel")

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise of several scales.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W), each sample of unit deviation.
        """
        batch_size, channels, height, width = like.shape
        full, coarser = channels * height * width, self._largest_sides(height, width)
        count = full + len(coarser) + channels * sum(h * w for h, w in coarser)
        drawn = rows(batch_size, count, generator)
        noise = _TWO_DRAWS * drawn[:, :full].reshape(like.shape)
        ratio = 2 + 2 * uniform(drawn[:, full : full + len(coarser)])  # (B, levels)
        going = torch.ones(batch_size)  # 0 once a sample has come down to one pixel
        place = full + len(coarser)
        for level, (h, w) in enumerate(coarser, 1):
            coarse = drawn[:, place : place + channels * h * w].unflatten(1, (channels, h, w))
            place += channels * h * w
            shrink = ratio[:, level - 1] ** level
            high, wide = (height / shrink).floor(), (width / shrink).floor()
            down = _bilinear(height, high.clamp(min=1), h)
            weight = going * self.discount**level
            across = _bilinear(width, wide.clamp(min=1), w)
            add_interpolated(noise, coarse, down=weight[:, None, None] * down, across=across)
            going = going * ((high > 1) & (wide > 1))
        return (noise / _deviation(noise)).to(like.device, like.dtype)

    def _largest_sides(self, height: int, width: int) -> list[tuple[int, int]]:
        """The most that each coarser level can need: r is at least 2."""
        sides = []
        for level in range(1, self.levels if self.discount else 1):
            if min(height, width) >> (level - 1) <= 1:
                break
            sides.append((max(1, height >> level), max(1, width >> level)))
        return sides


class KohyaPyramid(NoiseSettings):
    """Pyramid noise exactly as sd-scripts draws it (multires noise), to repeat its runs.

    Source: sd-scripts, `pyramid_noise_like`; its users advise 6 to 10 levels and a discount of 0.4
    to 0.8, its default of 0.3 is nearly white. One ratio a level serves the whole batch, and the
    batch's deviation normalises it: `pyramid` is the same noise without these ties.
    """

    kind: Literal["pyramid_kohya"] = "pyramid_kohya"
    discount: float = setting(0.3, ge=0, lt=1, help="multires_noise_discount")
    levels: int = setting(6, ge=1, le=10, help="multires_noise_iterations")

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise of several scales.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W); the batch as a whole has unit deviation.
        """
        return _by_batch(like, generator, (self._sides(like, generator), self.discount))

    def metadata(self) -> dict[str, Any]:
        """See `NoiseSettings`."""
        return {
            "multires_noise_iterations": self.levels,
            "multires_noise_discount": self.discount,
        }

    def _sides(self, like: Tensor, generator: torch.Generator) -> Iterator[tuple[int, int]]:
        for level in range(1, self.levels):
            shrink = _ratio(generator) ** level
            yield max(1, int(like.shape[2] / shrink)), max(1, int(like.shape[3] / shrink))


class WhitakerPyramid(NoiseSettings):
    """Pyramid noise as first published: few levels, since each shrinks what the last one left.

    Source: Whitaker 2023, "Multi-resolution noise for diffusion model training". Level i divides
    the side of level i - 1 by r^i, so that a side of 64 ends after three or four levels, and its
    last ones have a side of one or two: it is much stronger at the lowest frequencies. The batch's
    deviation normalises it.
    """

    kind: Literal["pyramid_whitaker"] = "pyramid_whitaker"
    discount: float = setting(0.9, ge=0, lt=1, help="weight ratio of each coarser level")

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise of several scales.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W); the batch as a whole has unit deviation.
        """
        return _by_batch(like, generator, (self._sides(like, generator), self.discount))

    def _sides(self, like: Tensor, generator: torch.Generator) -> Iterator[tuple[int, int]]:
        height, width = like.shape[2:]
        for level in range(1, _WHITAKER_LEVELS):
            shrink = _ratio(generator) ** level
            height, width = max(1, int(height / shrink)), max(1, int(width / shrink))
            yield height, width


def _by_batch(
    like: Tensor, generator: torch.Generator, levels: tuple[Iterator[tuple[int, int]], float]
) -> Tensor:
    """Both published forms: sides for the whole batch, one deviation for the whole batch."""
    sides, discount = levels
    size = (like.shape[2], like.shape[3])
    noise = _TWO_DRAWS * torch.randn(like.shape, generator=generator)
    ended = min(size) == 1
    for level, (height, width) in enumerate(() if ended else sides, 1):
        coarse = torch.randn(*like.shape[:2], height, width, generator=generator)
        noise += discount**level * torch.nn.functional.interpolate(
            coarse, size=size, mode="bilinear", align_corners=False
        )
        if min(height, width) == 1:
            break
    return (noise / noise.std()).to(like.device, like.dtype)


def _deviation(noise: Tensor) -> Tensor:
    """Each sample's standard deviation (B, 1, 1, 1); torch's own takes twenty times as long."""
    flat = noise.flatten(1)
    count = flat.shape[1]
    variance = flat.square().mean(dim=1) - flat.mean(dim=1).square()
    return (variance * count / max(count - 1, 1)).sqrt()[:, None, None, None]


def _ratio(generator: torch.Generator) -> float:
    """By how much a level shrinks: anew from [2, 4]."""
    return 2 + 2 * torch.rand((), generator=generator).item()


def _bilinear(length: int, sides: Tensor, columns: int) -> Tensor:
    """Matrices that enlarge lines bilinearly, as torch does with `align_corners=False`.

    Args:
        length: of the enlarged line.
        sides: length of each sample's coarse line (B,), at most `columns`.
        columns: of the matrices; those beyond a sample's side are zero.
    Returns:
        (B, length, columns), rows of sum 1.
    """
    place = (torch.arange(length) + 0.5) * (sides[:, None] / length) - 0.5  # (B, length)
    place = place.clamp(min=0).minimum(sides[:, None] - 1)
    return (1 - (place[..., None] - torch.arange(columns)).abs()).clamp(min=0)
