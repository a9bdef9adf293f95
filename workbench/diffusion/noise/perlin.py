"""Perlin noise in octaves, perturbed by white noise so that it has no fixed structure."""

from typing import Literal

import torch
from torch import Tensor

from workbench.diffusion.noise.base import NoiseSettings, add_interpolated, rows, uniform
from workbench.settings import setting


class Perlin(NoiseSettings):
    """Smooth clouds of several sizes; perturbation mixes white noise in.

    Plain Perlin noise reaches far and has almost no fine detail, so it never fully destroys a
    picture; perturbation brings the detail back and keeps part of the low frequencies. Six octaves
    at persistence 0.8 and perturbation 0.4 look like pyramid noise.

    Source: Perlin 2002, "Improving noise"; octaves, persistence and perturbation as in the LoRA
    guide that proposed it for training; sd-scripts #507.
    Differs from sd-scripts' reverted code: every sample and channel has a field of its own, any
    size works, and the lattice starts anywhere. A lattice tied to the picture's edges leaves the
    same pixels, those at its nodes, without any noise in every step.
    """

    kind: Literal["perlin"] = "perlin"
    octaves: int = setting(
        6, ge=1, le=10, basic=True, help="number of scales, each half as large as the one before"
    )
    persistence: float = setting(
        0.8, gt=0, le=1, basic=True, help="weight ratio of each finer scale to the one before"
    )
    perturbation: float = setting(
        0.4, ge=0, le=1, basic=True, help="share of white noise; 0 is pure Perlin, 1 is white"
    )
    cells: int = setting(4, ge=1, le=64, help="cells of the coarsest scale along the shorter side")
    shift: bool = setting(True, help="start the lattice anywhere; false ties it to the edges")

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a field for every sample and channel.

        Args:
            like: latents (B, C, H, W), of any size.
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W), of unit variance over draws.
        """
        batch_size, channels, height, width = like.shape
        scales, fine = self._scales(height, width)
        total = (sum(weight**2 for _, weight in scales) + fine**2) ** 0.5
        smooth = (1 - self.perturbation) / total
        white = ((smooth * fine) ** 2 + self.perturbation**2) ** 0.5
        norm = ((1 - self.perturbation) ** 2 + self.perturbation**2) ** 0.5
        full = channels * height * width if white else 0
        nodes = [(_num_nodes(height, cell), _num_nodes(width, cell)) for cell, _ in scales]
        count = full + sum(2 + 2 * channels * n * m for n, m in nodes)
        drawn = rows(batch_size, count, generator)
        noise = torch.zeros(like.shape)
        if full:
            noise = white / norm * drawn[:, :full].reshape(like.shape)
        place = full
        for (cell, weight), (n, m) in zip(scales, nodes, strict=True):
            size = 2 + 2 * channels * n * m
            part = drawn[:, place : place + size]
            place += size
            shifts = uniform(part[:, :2]) if self.shift else torch.zeros(batch_size, 2)
            slopes = part[:, 2:].unflatten(1, (2, channels, n, m))
            slopes = slopes * slopes.square().sum(dim=1, keepdim=True).rsqrt()  # any direction
            add_octave(noise, slopes, cell, shifts=shifts, weight=weight * smooth / norm)
        return noise.to(like.device, like.dtype)

    def _scales(self, height: int, width: int) -> tuple[list[tuple[float, float]], float]:
        """Cell side in px and weight of each octave, and the weight of those finer than a pixel.

        A lattice as fine as the pixels cannot be told from white noise, so it is drawn as such.
        """
        cells = [min(height, width) / self.cells / 2**k for k in range(self.octaves)]
        weights = [self.persistence**k for k in range(self.octaves)]
        pairs = list(zip(cells, weights, strict=True))
        fine = sum(weight**2 for cell, weight in pairs if cell <= 1) ** 0.5
        return [pair for pair in pairs if pair[0] > 1], fine


def add_octave(
    noise: Tensor, slopes: Tensor, cell: float, *, shifts: Tensor, weight: float
) -> None:
    """Add gradient noise of one scale.

    The value at a pixel is a mix of its four nodes' planes, slope times distance, with weights that
    are a product over the axes. So it is a sum of two separable terms: distance down times weight
    across, and weight down times distance across.

    Args:
        noise: (B, C, H, W), contiguous; changed in place.
        slopes: unit vectors at the nodes (B, 2, C, n, m): down, across.
        cell: distance of neighbouring nodes in px.
        shifts: where the lattice starts, in cells (B, 2), in [0, 1].
        weight: deviation of what is added.
    """
    _, _, _, n, m = slopes.shape
    down, fall = _mixing(noise.shape[-2], cell, n, shifts[:, 0])
    across, lean = _mixing(noise.shape[-1], cell, m, shifts[:, 1])

    def power(matrix: Tensor) -> Tensor:
        return torch.linalg.vector_norm(matrix, dim=(1, 2)).square() / matrix.shape[1]  # (B,)

    # A unit vector's components have a variance of 1/2 each.
    variance = (power(fall) * power(across) + power(down) * power(lean)) / 2
    scale = (weight / variance.clamp(min=1e-12).sqrt())[:, None, None]
    add_interpolated(noise, slopes[:, 0], down=scale * fall, across=across)
    add_interpolated(noise, slopes[:, 1], down=scale * down, across=lean)


def _num_nodes(length: int, cell: float) -> int:
    """Nodes along an axis, wherever the lattice starts."""
    return int(-(-length // cell)) + 2


def _mixing(length: int, cell: float, nodes: int, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Each node's weight at each pixel, and weight times distance in cells, both (B, length, n)."""
    place = (torch.arange(length) + 0.5) / cell + shift[:, None]  # (B, length)
    distance = place[..., None] - torch.arange(nodes)  # (B, length, nodes)
    near = (1 - distance.abs()).clamp(min=0)
    weight = (
        near * near * near * (near * (6 * near - 15) + 10)
    )  # 6 t^5 - 15 t^4 + 10 t^3, of 1 - |distance|
    return weight, weight * distance
