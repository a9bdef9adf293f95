"""Which levels of noise a training step looks at, and how well each range of them goes.

Settings count in thousandths of the way from clean to noise, which are the timesteps of a discrete
schedule and sigma times 1000 of a flow.

A distribution is given by its quantile function, which turns even draws into its own, and by its
inverse, which says how likely each timestep is: plots and weights need no sampling.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from workbench.process import THOUSAND, Process
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

    def draw(self, batch_size: int, generator: torch.Generator, process: Process) -> Tensor:
        """Draw levels.

        Args:
            batch_size: number of samples, B.
            generator: CPU generator.
            process: what is drawn from: timesteps of a discrete schedule, sigmas of a flow.
        Returns:
            Levels (B,) in the range from `lowest` to `highest`.
        """
        uniform = torch.rand(batch_size, generator=generator)
        if self.stratified:  # one draw from each of B equal parts, in random order
            uniform = (uniform + torch.randperm(batch_size, generator=generator)) / batch_size
        return process.levels(self.lowest, self.highest, self.quantile(uniform))

    def density(self, num_levels: int = THOUSAND) -> Tensor:
        """How likely each of evenly spread levels is.

        Args:
            num_levels: how many there are on the whole way: T of a discrete schedule.
        Returns:
            Probabilities (N,), float64, of sum 1.
        """
        first = self.lowest * num_levels // THOUSAND
        count = (self.highest + 1) * num_levels // THOUSAND - first
        edges = torch.linspace(0, 1, count + 1, dtype=torch.float64)
        density = torch.zeros(num_levels, dtype=torch.float64)
        density[first : first + count] = self.cumulative(edges).diff()
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


def sum_by_bin(losses: Tensor, places: Tensor, *, num_bins: int = NUM_BINS) -> Tensor:
    """Sort losses by timestep without waiting for the device.

    Args:
        losses: (B,).
        places: (B,), in [0, 1] from clean to noise, on the same device.
        num_bins: equal ranges.
    Returns:
        Sum of the losses and number of the samples in each bin, (2, bins).
    """
    bins = torch.arange(num_bins, device=losses.device)
    inside = (places * num_bins).long().clamp(max=num_bins - 1)[:, None] == bins  # (B, bins)
    sums = torch.where(inside, losses[:, None], 0).sum(dim=0)
    return torch.stack([sums, inside.sum(dim=0).to(sums.dtype)])


def bin_edges(num_bins: int = NUM_BINS) -> list[int]:
    """Borders of the bins of `sum_by_bin`.

    Args:
        num_bins: equal ranges.
    Returns:
        First whole thousandth of each bin, and 1000; a thousandth belongs where its middle lies.
    """
    return [math.ceil(THOUSAND * k / num_bins - 0.5) for k in range(num_bins + 1)]
