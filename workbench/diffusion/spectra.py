"""Measures of noise: how power spreads over frequencies, and how far pixels belong together.

All are pure functions of drawn fields. Power is relative to white noise of unit variance, which has
power 1 at every frequency; frequencies k are cycles per picture (along the shorter side).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Where the summary reads the spectrum and the correlation; k = 31 is next to the finest of 64 px.
FREQUENCIES = (0, 1, 4, 16, 31)
LAGS = (1, 8)


@dataclass(frozen=True, slots=True)
class Summary:
    """What distinguishes one noise from another, in ten numbers.

    Attributes:
        variance: over all pixels, about 0.
        deviation_spread: standard deviation of the samples' own standard deviations.
        k0: power of the mean (DC).
        k1: power at one cycle a picture; k4, k16 and k31 likewise. NaN beyond the finest.
        mean_variance: variance of a field's mean; 1 / pixels for white noise.
        lag1: correlation of neighbouring pixels.
        lag8: correlation of pixels 8 apart; NaN in smaller fields.
    """

    variance: float
    deviation_spread: float
    k0: float
    k1: float
    k4: float
    k16: float
    k31: float
    mean_variance: float
    lag1: float
    lag8: float


def power_spectrum(drawn: Tensor) -> Tensor:
    """Mean power of each frequency.

    Args:
        drawn: fields (..., H, W); all leading dimensions are averaged over.
    Returns:
        (H, W), frequency 0 at [0, 0] as `torch.fft.fft2` orders them; 1 for white noise.
    """
    height, width = drawn.shape[-2:]
    power = torch.fft.fft2(drawn.float()).abs().square() / (height * width)
    return power.reshape(-1, height, width).mean(dim=0)


def phase_spectrum(field: Tensor) -> Tensor:
    """Phase of each frequency of one field: without structure unless the field has some.

    Args:
        field: (H, W).
    Returns:
        (H, W), in [-pi, pi], frequency 0 at [0, 0].
    """
    return torch.fft.fft2(field.float()).angle()


def radial_mean(spectrum: Tensor) -> Tensor:
    """Average a spectrum over directions.

    Args:
        spectrum: (H, W), frequency 0 at [0, 0].
    Returns:
        (K,): mean over the ring around each k = 0, 1, 2, ... cycles per shorter side, as far as
        whole rings go.
    """
    height, width = spectrum.shape
    side = min(height, width)
    down, across = (torch.fft.fftfreq(n, device=spectrum.device) * side for n in (height, width))
    ring = torch.hypot(down[:, None], across[None, :]).round().long().flatten()
    count = torch.bincount(ring)
    total = torch.bincount(ring, weights=spectrum.flatten().double())
    return (total / count.clamp(min=1))[: side // 2 + 1].to(spectrum.dtype)


def autocorrelation(drawn: Tensor, lags: Sequence[int]) -> Tensor:
    """Correlation of pixels some distance apart, mean of both axes.

    The mean is not taken off: a common offset makes far pixels correlate, and that is meant.

    Args:
        drawn: fields (..., H, W).
        lags: distances in px, >= 0, below both sides.
    Returns:
        (len(lags),); 1 at distance 0.
    """
    values = drawn.float()
    height, width = values.shape[-2:]
    found = []
    for lag in lags:
        down = (values[..., lag:, :] * values[..., : height - lag, :]).mean()
        across = (values[..., lag:] * values[..., : width - lag]).mean()
        found.append((down + across) / 2)
    return torch.stack(found) / values.square().mean()


def summarise(drawn: Tensor) -> Summary:
    """Measure fields in the numbers of the table that noises are compared by.

    Args:
        drawn: (B, C, H, W).
    Returns:
        The summary.
    """
    height, width = drawn.shape[-2:]
    radial = radial_mean(power_spectrum(drawn))
    near = [lag for lag in LAGS if lag < min(height, width)]
    correlation = autocorrelation(drawn, near) if near else radial[:0]
    k0, k1, k4, k16, k31 = (_entry(radial, k) for k in FREQUENCIES)
    lag1, lag8 = (_entry(correlation, place) for place in range(len(LAGS)))
    values = drawn.float()
    return Summary(
        variance=float(values.square().mean()),
        deviation_spread=float(values.std(dim=(1, 2, 3)).std()) if len(drawn) > 1 else 0.0,
        k0=k0,
        k1=k1,
        k4=k4,
        k16=k16,
        k31=k31,
        mean_variance=float(values.mean(dim=(2, 3)).square().mean()),
        lag1=lag1,
        lag8=lag8,
    )


def _entry(values: Tensor, index: int) -> float:
    return float(values[index]) if index < len(values) else float("nan")
