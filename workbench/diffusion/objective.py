"""From a prediction to the loss of each sample: the distance, and what it is weighted by."""

from typing import NamedTuple

import torch
from torch import Tensor

from workbench.diffusion.losses import Level, Loss, per_sample
from workbench.diffusion.targets import Prediction, signal_to_noise
from workbench.diffusion.timesteps import Timesteps
from workbench.diffusion.weighting import Weighting


class SampleLosses(NamedTuple):
    """Losses of a micro-batch."""

    weighted: Tensor  # (B,), differentiable: what is trained on
    plain: Tensor  # (B,), detached: before the weights, so that timesteps can be compared
    timesteps: Tensor  # (B,)


class Objective:
    """What a run minimises: its weights are tabled once, so that a step only looks them up.

    Args:
        loss: the distance.
        weighting: how much each timestep counts.
        timesteps: how often each timestep is drawn.
        alphas_cumprod: alpha_bar of the whole schedule (T,); the tables lie on its device.
        prediction: what the model predicts.

    Attributes:
        factor: mean of the weighting over the draws, before it is normalised: what it multiplies
            the loss, and with it the gradients, by.
        density: probability of each timestep (T,), float64, on the CPU.
        weights: weight of each timestep (T,), normalised where the weighting says so.
    """

    def __init__(
        self,
        loss: Loss,
        weighting: Weighting,
        timesteps: Timesteps,
        *,
        alphas_cumprod: Tensor,
        prediction: Prediction,
    ):
        count = len(alphas_cumprod)
        self.loss = loss
        self.snr = signal_to_noise(torch.arange(count), alphas_cumprod=alphas_cumprod)  # (T,)
        self.density = timesteps.density(count)
        weights = weighting.weights(self.snr, prediction)
        self.factor = float((weights.double().cpu() * self.density).sum())
        self.weights = weights / self.factor if weighting.normalise else weights

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.snr)

    def __call__(
        self,
        predicted: Tensor,
        target: Tensor,
        timesteps: Tensor,
        *,
        mask: Tensor | None = None,
        importance: Tensor | None = None,
    ) -> SampleLosses:
        """Compare, mask, average and weigh, in this order.

        Args:
            predicted: (B, C, h, w).
            target: (B, C, h, w).
            timesteps: (B,), int64, on the tables' device.
            mask: weight of each place (B, 1, h, w), see `losses.mask_weights`; None: all alike.
            importance: weight of each picture (B,), lambda for those that preserve the prior;
                None: all alike.
        Returns:
            Losses of each sample; their batch mean is left to the caller.
        """
        level = Level(timesteps / self.num_timesteps, self.snr[timesteps])
        plain = per_sample(self.loss.each(predicted, target, level), mask)
        weighted = plain if importance is None else plain * importance
        return SampleLosses(weighted * self.weights[timesteps], plain.detach(), timesteps)
