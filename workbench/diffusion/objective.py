"""From a prediction to the loss of each sample: the distance, and what it is weighted by."""

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.diffusion.losses import Level, Loss, per_sample
from workbench.diffusion.timesteps import Timesteps
from workbench.diffusion.weighting import Weighting
from workbench.process import Process, grid


class SampleLosses(NamedTuple):
    """Losses of a micro-batch."""

    weighted: Tensor  # (B,), differentiable: what is trained on
    plain: Tensor  # (B,), detached: before the weights, so that timesteps can be compared
    places: Tensor  # (B,), in [0, 1], from clean to noise


class Objective:
    """What a run minimises.

    Args:
        loss: the distance.
        weighting: how much each level counts.
        timesteps: how often each level is drawn.
        process: what the levels mean, and what the model predicts.
    """

    def __init__(self, loss: Loss, weighting: Weighting, timesteps: Timesteps, *, process: Process):
        self.loss, self.weighting, self.timesteps = loss, weighting, timesteps
        self.process = process
        self._tables: dict[torch.device, Tensor] = {}

    @cached_property
    def density(self) -> Tensor:
        """Probability of each level of `process.grid` (N,), float64, on the CPU."""
        return self.timesteps.density(len(grid(self.process)))

    @cached_property
    def factor(self) -> float:
        """Mean weight over the drawn timesteps, before normalising; the loss is scaled by it."""
        weights = self._weights(grid(self.process))
        return float((weights.double() * self.density).sum())

    def weights(self, level: Tensor) -> Tensor:
        """How much samples count.

        Args:
            level: (B,).
        Returns:
            (B,), normalised where the weighting says so.
        """
        if self.process.steps is None:
            weights = self._weights(level)
        else:  # looked up: a power of one number may round otherwise than one of a vector
            if level.device not in self._tables:
                self._tables[level.device] = self._weights(grid(self.process).to(level.device))
            weights = self._tables[level.device][level]
        return weights / self.factor if self.weighting.normalise else weights

    def _weights(self, level: Tensor) -> Tensor:
        return self.weighting.weights(self.process.snr(level), self.process.prediction)

    def __call__(
        self,
        predicted: Tensor,
        target: Tensor,
        level: Tensor,
        *,
        mask: Tensor | None = None,
        importance: Tensor | None = None,
    ) -> SampleLosses:
        """Compare, mask, average and weigh, in this order.

        Args:
            predicted: (B, C, h, w).
            target: (B, C, h, w).
            level: (B,), on the same device.
            mask: weight of each place (B, 1, h, w), see `losses.mask_weights`; None: all alike.
            importance: weight of each picture (B,), lambda for those that preserve the prior;
                None: all alike.
        Returns:
            Losses of each sample; their batch mean is left to the caller.
        """
        steps = self.process.steps
        progress = self.process.place(level) if steps is None else level / steps
        each = self.loss.each(predicted, target, Level(progress, self.process.snr(level)))
        plain = per_sample(each, mask)
        weighted = plain if importance is None else plain * importance
        return SampleLosses(
            weighted * self.weights(level), plain.detach(), self.process.place(level)
        )
