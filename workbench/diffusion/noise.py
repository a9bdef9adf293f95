"""The noise that training adds to the latents, each kind drawn by the class that explains it."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.settings import Settings, setting


class Gaussian(Settings):
    """White noise: every frequency has the same power. What the base was trained with."""

    kind: Literal["gaussian"] = "gaussian"

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw unit-variance white noise.

        Args:
            like: latents (B, C, H, W) whose shape, dtype and device the noise takes.
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W).
        """
        return white(like, generator)


class Offset(Settings):
    """White noise plus one constant per channel, so that brightness far from the middle is learnt.

    Source: crosslabs.org/blog/diffusion-with-offset-noise (2023). The variance is 1 + strength^2.
    """

    kind: Literal["offset"] = "offset"
    strength: float = setting(
        0.05, ge=0, le=1, basic=True, help="size of the constant; 0 is plain white noise"
    )

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw white noise with a random constant added to each channel.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W), of variance 1 + strength^2.
        """
        shift = torch.randn(like.shape[:2], generator=generator)[:, :, None, None]
        return white(like, generator) + self.strength * shift.to(like.device, like.dtype)


class Pyramid(Settings):
    """White noise plus coarser copies of itself, so that low frequencies are trained too.

    Source: Whitaker 2023, "Multi-resolution noise for diffusion model training", in the variant of
    sd-scripts: level i is a draw at side / r^i, r anew from [2, 4]; level 0 is one more full draw.
    Differs: each sample has scales of its own and is brought to unit variance by itself; the
    published code divides by the whole batch's deviation, so that one picture's noise depends on
    its neighbours.
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
        samples = [self._sample(like.shape[1:], generator) for _ in range(like.shape[0])]
        return torch.stack(samples).to(like.device, like.dtype)

    def _sample(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        channels, height, width = shape
        noise = torch.randn(shape, generator=generator)
        for level in range(self.levels):
            shrink = (2 + 2 * torch.rand((), generator=generator).item()) ** level
            sides = (max(1, int(height / shrink)), max(1, int(width / shrink)))
            coarse = torch.randn((1, channels, *sides), generator=generator)
            noise += self.discount**level * torch.nn.functional.interpolate(
                coarse, size=(height, width), mode="bilinear", align_corners=False
            ).squeeze(0)
            if min(sides) == 1:
                break
        return noise / noise.std()


Noise = Annotated[Gaussian | Offset | Pyramid, Field(discriminator="kind")]


def white(like: Tensor, generator: torch.Generator) -> Tensor:
    """Unit-variance white noise, drawn on the CPU so that every device sees the same.

    Args:
        like: tensor whose shape, dtype and device the noise takes.
        generator: CPU generator.
    Returns:
        Noise of the shape of `like`.
    """
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)
