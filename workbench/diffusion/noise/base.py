"""What every noise offers, and the random numbers that they are made of."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from workbench.settings import Settings


class NoisePair(NamedTuple):
    """The noise of one training step, twice: they differ only under input perturbation."""

    input: Tensor  # (B, C, H, W): what the latents are mixed with
    target: Tensor  # (B, C, H, W): what the model is asked for


class NoiseSettings(Settings):
    """Base of every noise. Each member draws with one method and is explained by its class."""

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the noise that the latents are mixed with.

        Args:
            like: clean latents (B, C, H, W), whose shape, dtype and device the noise takes.
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W).
        """
        raise NotImplementedError

    def pair(self, like: Tensor, generator: torch.Generator) -> NoisePair:
        """Draw the noise of a training step; the same random numbers as `draw`.

        Args:
            like: clean latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            The noise that goes in and the noise that is asked for.
        """
        noise = self.draw(like, generator)
        return NoisePair(noise, noise)

    def metadata(self) -> dict[str, Any]:
        """What sd-scripts would write about this noise into a LoRA file.

        Returns:
            Names without `ss_`, to values; empty where it has no word for it.
        """
        return {}


class Gaussian(NoiseSettings):
    """White noise: every frequency has the same power. What the base was trained with."""

    kind: Literal["gaussian"] = "gaussian"

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw unit-variance white noise.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W).
        """
        return white(like, generator)


def white(like: Tensor, generator: torch.Generator) -> Tensor:
    """Unit-variance white noise, drawn on the CPU so that every device sees the same.

    Args:
        like: tensor whose shape, dtype and device the noise takes.
        generator: CPU generator.
    Returns:
        Noise of the shape of `like`.
    """
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def rows(batch_size: int, count: int, generator: torch.Generator) -> Tensor:
    """Normal numbers for a batch, so that a sample's own do not depend on how many follow it.

    Args:
        batch_size: B.
        count: numbers that each sample needs.
        generator: CPU generator.
    Returns:
        (B, count), float32, on the CPU.
    """
    # torch makes normal numbers in blocks of 16: whole blocks keep one row out of the next.
    whole = -(-count // 16) * 16
    return torch.randn(batch_size, whole, generator=generator)[:, :count]


def uniform(normal: Tensor) -> Tensor:
    """Turn normal numbers into uniform ones, so that a row needs no second kind of draw.

    Args:
        normal: any shape.
    Returns:
        Uniform in (0, 1), the same shape.
    """
    return torch.special.ndtr(normal)


def add_interpolated(noise: Tensor, coarse: Tensor, *, down: Tensor, across: Tensor) -> None:
    """Add a coarse picture to a fine one, each sample interpolated by matrices of its own.

    Interpolation on a grid is separable, so it is two matrix products; with a matrix a sample, the
    whole batch is one call although every sample has its own scale. Looping over samples took
    three times as long.

    Args:
        noise: (B, C, H, W), contiguous; changed in place.
        coarse: (B, C, h, w).
        down: (B, H, h): how each row is mixed from coarse rows, its weight included.
        across: (B, W, w): how each column is mixed from coarse columns.
    """
    mixed = (down[:, None] @ coarse).flatten(1, 2)  # (B, C H, w)
    noise.view(len(noise), -1, noise.shape[-1]).baddbmm_(mixed, across.transpose(1, 2))
