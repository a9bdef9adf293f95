"""Pink, brown and blue noise: any power of the frequency, shaped in the Fourier domain."""

import functools
from typing import Literal

import torch
from torch import Tensor

from workbench.diffusion.noise.base import NoiseSettings
from workbench.settings import setting


class PowerLaw(NoiseSettings):
    """Noise whose power falls or rises with the frequency: pink, brown, blue.

    Without the mean (`keep_dc` off) it is the opposite of offset noise: nothing is learnt about
    overall brightness. Opposite edges belong together, as always with Fourier filters.
    """

    kind: Literal["power_law"] = "power_law"
    exponent: float = setting(
        1.0,
        ge=-4,
        le=4,
        basic=True,
        help="power falls as 1 / frequency^exponent: 1 pink, 2 brown, 0 white, -1 blue",
    )
    keep_dc: bool = setting(False, help="keep the mean, with the power that white noise gives it")

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw white noise and filter it.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W), of unit variance.
        """
        size = (like.shape[-2], like.shape[-1])
        spectrum = torch.fft.rfft2(torch.randn(like.shape, generator=generator))
        filtered = torch.fft.irfft2(spectrum * _gain(size, self.exponent, self.keep_dc), s=size)
        return filtered.to(like.device, like.dtype)


@functools.lru_cache(maxsize=32)  # one entry a bucket
def _gain(size: tuple[int, int], exponent: float, keep_dc: bool) -> Tensor:
    """Amplitude of each frequency (H, W // 2 + 1), such that the variance stays 1."""
    down, across = (torch.fft.fftfreq(side, dtype=torch.float64) for side in size)
    frequency = torch.hypot(down[:, None], across[None, :])  # cycles per pixel
    frequency[0, 0] = torch.inf if exponent > 0 else 0  # the mean is set below
    gain = frequency ** (-exponent / 2)
    gain[0, 0] = 0
    count = size[0] * size[1]
    if keep_dc or count == 1:
        gain *= ((count - 1) / gain.square().sum().clamp(min=1e-12)).sqrt()
        gain[0, 0] = 1
    else:
        gain *= (count / gain.square().sum()).sqrt()
    return gain[:, : size[1] // 2 + 1].float()
