"""Which timesteps a training step looks at, and how well each range of them goes.

A distribution is given by its quantile function, which turns even draws into its own, and by its
inverse, which says how likely each timestep is: plots and weights need no sampling.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from workbench.settings import Settings, setting

NUM_BINS = 10  # equal ranges of timesteps whose losses are told apart while training


class _Distribution(Settings):
    lowest: int = setting(0, ge=0, lt=1000, help="first timestep drawn; 0 is almost no noise")
    highest: int = setting(999, ge=0, lt=1000, help="last timestep drawn; 999 is almost only noise")
    stratified: bool = setting(
        False,
        help="spread each micro-batch evenly over the distribution: the same timesteps on "
        "average, with a calmer loss",
    )

    @model_validator(mode="after")
    def _ordered(self) -> "_Distribution":
        if self.lowest > self.highest:
            raise ValueError(
                f"lowest must be at most highest, got {self.lowest} and {self.highest}; swap them"
            )
        return self

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw timesteps.

        Args:
            batch_size: number of samples, B.
            generator: CPU generator.
        Returns:
            Timesteps (B,), int64, in [lowest, highest].
        """
        uniform = torch.rand(batch_size, generator=generator)
        if self.stratified:  # one draw from each of B equal parts, in random order
            uniform = (uniform + torch.randperm(batch_size, generator=generator)) / batch_size
        count = self.highest - self.lowest + 1
        return self.lowest + (self.quantile(uniform) * count).long().clamp(max=count - 1)

    def density(self, num_timesteps: int = 1000) -> Tensor:
        """How likely each timestep is.

        Args:
            num_timesteps: length of the noise schedule, T.
        Returns:
            Probabilities (T,), float64, of sum 1.
        """
        count = self.highest - self.lowest + 1
        edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
        density = torch.zeros(num_timesteps, dtype=torch.float64)
        density[self.lowest : self.highest + 1] = self.cumulative(edges).diff()
        return density

    def quantile(self, uniform: Tensor) -> Tensor:
        """Place in the range below which a share of all draws lies.

        Args:
            uniform: shares in [0, 1].
        Returns:
            Places in [0, 1], from clean to noise, of the same shape.
        """
        raise NotImplementedError

    def cumulative(self, place: Tensor) -> Tensor:
        """Share of all draws below a place: the inverse of `quantile`.

        Args:
            place: in [0, 1], from clean to noise.
        Returns:
            Shares in [0, 1], of the same shape.
        """
        raise NotImplementedError


class Uniform(_Distribution):
    """Every timestep of the range is as likely as any other. What the base was trained with."""

    kind: Literal["uniform"] = "uniform"

    def quantile(self, uniform: Tensor) -> Tensor:
        """The share itself."""
        return uniform

    def cumulative(self, place: Tensor) -> Tensor:
        """The place itself."""
        return place


class LogitNormal(_Distribution):
    """Middling timesteps are drawn more often than the two ends of the range.

    Source: Esser et al. 2024, arXiv 2403.03206, eq. 19; here over discrete timesteps. A shift s of
    it, as in SD3, is a mean higher by ln s.
    """

    kind: Literal["logit_normal"] = "logit_normal"
    mean: float = setting(0.0, ge=-5, le=5, help="above 0 prefers noisy timesteps, below 0 clean")
    spread: float = setting(1.0, gt=0, le=5, help="larger spreads the draws over more timesteps")

    def quantile(self, uniform: Tensor) -> Tensor:
        """sigmoid(mean + spread * z), z the normal distribution's quantile."""
        return torch.sigmoid(self.mean + self.spread * torch.special.ndtri(uniform))

    def cumulative(self, place: Tensor) -> Tensor:
        """Normal distribution of (logit(place) - mean) / spread."""
        return torch.special.ndtr((torch.logit(place) - self.mean) / self.spread)


class Shifted(_Distribution):
    """Even draws, pushed towards noise (or away from it), as large pictures need more noise.

    Source: Esser et al. 2024, arXiv 2403.03206, eq. 23: s u / (1 + (s - 1) u). Differs: over the
    timesteps of a discrete schedule, within the range.
    """

    kind: Literal["shifted"] = "shifted"
    shift: float = setting(
        3.0, ge=0.01, le=100, help="above 1 prefers noisy timesteps, below 1 clean ones"
    )

    def quantile(self, uniform: Tensor) -> Tensor:
        """S u / (1 + (s - 1) u)."""
        return self.shift * uniform / (1 + (self.shift - 1) * uniform)

    def cumulative(self, place: Tensor) -> Tensor:
        """X / (s - (s - 1) x)."""
        return place / (self.shift - (self.shift - 1) * place)


Timesteps = Annotated[Uniform | LogitNormal | Shifted, Field(discriminator="kind")]


def sum_by_bin(
    losses: Tensor, timesteps: Tensor, *, num_timesteps: int, num_bins: int = NUM_BINS
) -> Tensor:
    """Sort losses by timestep without waiting for the device.

    Args:
        losses: (B,).
        timesteps: (B,), int64, on the same device.
        num_timesteps: length of the noise schedule.
        num_bins: equal ranges of it.
    Returns:
        Sum of the losses and number of the samples in each bin, (2, bins).
    """
    bins = torch.arange(num_bins, device=losses.device)
    inside = (timesteps * num_bins // num_timesteps)[:, None] == bins  # (B, bins)
    sums = torch.where(inside, losses[:, None], 0).sum(dim=0)
    return torch.stack([sums, inside.sum(dim=0).to(sums.dtype)])


def bin_edges(num_timesteps: int, num_bins: int = NUM_BINS) -> list[int]:
    """Borders of the bins of `sum_by_bin`.

    Args:
        num_timesteps: length of the noise schedule.
        num_bins: equal ranges of it.
    Returns:
        First timestep of each bin, and the length of the schedule.
    """
    return [math.ceil(num_timesteps * k / num_bins) for k in range(num_bins + 1)]
