"""Which timesteps a training step looks at."""

from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from workbench.settings import Settings, setting


class _Range(Settings):
    lowest: int = setting(0, ge=0, lt=1000, help="first timestep drawn; 0 is almost no noise")
    highest: int = setting(999, ge=0, lt=1000, help="last timestep drawn; 999 is almost only noise")

    @model_validator(mode="after")
    def _ordered(self) -> "_Range":
        if self.lowest > self.highest:
            raise ValueError(
                f"lowest must be at most highest, got {self.lowest} and {self.highest}; swap them"
            )
        return self


class Uniform(_Range):
    """Every timestep of the range is as likely as any other. What the base was trained with."""

    kind: Literal["uniform"] = "uniform"

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw timesteps.

        Args:
            batch_size: number of samples.
            generator: CPU generator.
        Returns:
            Timesteps (B,), int64, in [lowest, highest].
        """
        return torch.randint(self.lowest, self.highest + 1, (batch_size,), generator=generator)


class LogitNormal(_Range):
    """Middling timesteps are drawn more often than the two ends of the range.

    Source: Esser et al. 2024, arXiv 2403.03206, eq. 19; here over discrete timesteps.
    """

    kind: Literal["logit_normal"] = "logit_normal"
    mean: float = setting(0.0, ge=-5, le=5, help="above 0 prefers noisy timesteps, below 0 clean")
    spread: float = setting(1.0, gt=0, le=5, help="larger spreads the draws over more timesteps")

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw timesteps.

        Args:
            batch_size: number of samples.
            generator: CPU generator.
        Returns:
            Timesteps (B,), int64, in [lowest, highest].
        """
        normal = torch.randn(batch_size, generator=generator)
        fraction = torch.sigmoid(self.mean + self.spread * normal)
        count = self.highest - self.lowest + 1
        return self.lowest + (fraction * count).long().clamp(max=count - 1)


Timesteps = Annotated[Uniform | LogitNormal, Field(discriminator="kind")]
