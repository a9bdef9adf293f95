"""How far the prediction is from the target.

The order of the reduction is fixed: elementwise -> mask -> mean per sample -> weight of the
picture -> weight of its timestep -> mean over the batch. The first three are here, the weights in
`objective.py`, the last in the step.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from workbench.settings import Settings, setting


class Level(NamedTuple):
    """How noisy each sample is: what a threshold may follow."""

    progress: Tensor  # t / T in [0, 1), or sigma of a flow, (B,)
    snr: Tensor  # signal-to-noise ratio, >= 0, (B,)


class ConstantThreshold(Settings):
    """The same threshold at every timestep."""

    kind: Literal["constant"] = "constant"

    def at(self, threshold: float, level: Level) -> Tensor:
        """C.

        Args:
            threshold: c.
            level: how noisy each sample is; it makes no difference here.
        Returns:
            Threshold of each sample (B,).
        """
        return level.snr.new_full(level.snr.shape, threshold)


class ExponentialThreshold(Settings):
    """From 1 on clean samples to c on pure noise, in equal ratios: nearly L2 where details are."""

    kind: Literal["exponential"] = "exponential"

    def at(self, threshold: float, level: Level) -> Tensor:
        """exp(t ln c / T).

        Args:
            threshold: c, the value at the last timestep.
            level: how noisy each sample is.
        Returns:
            Threshold of each sample (B,).
        Source: Ivanova et al. 2024, arXiv 2403.16728; sd-scripts `huber_schedule=exponential`.
        """
        return threshold ** level.progress.to(level.snr.dtype)


class SnrThreshold(Settings):
    """From 1 on clean samples to c on pure noise, along the signal-to-noise ratio."""

    kind: Literal["snr"] = "snr"

    def at(self, threshold: float, level: Level) -> Tensor:
        """(1 - c) / (1 + sigma)^2 + c, with sigma = 1 / sqrt(SNR).

        Args:
            threshold: c, the value where there is no signal.
            level: how noisy each sample is.
        Returns:
            Threshold of each sample (B,); c at SNR 0.
        Source: sd-scripts `huber_schedule=snr`.
        """
        return (1 - threshold) / (1 + level.snr.rsqrt()).square() + threshold


ThresholdSchedule = Annotated[
    ConstantThreshold | ExponentialThreshold | SnrThreshold, Field(discriminator="kind")
]


class L2(Settings):
    """Squared distance: what diffusion models are derived from."""

    kind: Literal["l2"] = "l2"

    def each(self, predicted: Tensor, target: Tensor, level: Level) -> Tensor:
        """d^2.

        Args:
            predicted: (B, C, H, W).
            target: (B, C, H, W).
            level: how noisy each sample is; it makes no difference here.
        Returns:
            Distance of each element (B, C, H, W), float32.
        """
        return (predicted.float() - target.float()).square()


class L1(Settings):
    """Absolute distance: outliers count less, and so do fine details."""

    kind: Literal["l1"] = "l1"

    def each(self, predicted: Tensor, target: Tensor, level: Level) -> Tensor:
        """|d|.

        Args:
            predicted: (B, C, H, W).
            target: (B, C, H, W).
            level: how noisy each sample is; it makes no difference here.
        Returns:
            Distance of each element (B, C, H, W), float32.
        """
        return (predicted.float() - target.float()).abs()


class Huber(Settings):
    """Squared near zero and absolute far from it (pseudo-Huber): robust against odd images.

    Source: Ivanova et al. 2024, arXiv 2403.16728; sd-scripts `loss_type=huber`.
    """

    kind: Literal["huber"] = "huber"
    threshold: float = setting(0.1, gt=0, le=10, help="distance c where square turns into absolute")
    schedule: ThresholdSchedule = setting(
        ConstantThreshold(), help="how the threshold follows the timestep"
    )

    def each(self, predicted: Tensor, target: Tensor, level: Level) -> Tensor:
        """2c (sqrt(d^2 + c^2) - c): d^2 near zero, 2c |d| far from it.

        Args:
            predicted: (B, C, H, W).
            target: (B, C, H, W).
            level: how noisy each sample is.
        Returns:
            Distance of each element (B, C, H, W), float32.
        """
        c = self.schedule.at(self.threshold, level)[:, None, None, None]
        return 2 * c * _rounded(predicted.float() - target.float(), c)


class SmoothL1(Settings):
    """Absolute distance with its corner at zero rounded off; its slope far away is always 2.

    Unlike Huber's, its size does not fall with c: a small threshold makes neither loss nor
    gradient small.
    Source: sd-scripts `loss_type=smooth_l1`. Differs from torch's function of that name.
    """

    kind: Literal["smooth_l1"] = "smooth_l1"
    threshold: float = setting(0.1, gt=0, le=10, help="distance c below which it is rounded")
    schedule: ThresholdSchedule = setting(
        ConstantThreshold(), help="how the threshold follows the timestep"
    )

    def each(self, predicted: Tensor, target: Tensor, level: Level) -> Tensor:
        """2 (sqrt(d^2 + c^2) - c): d^2 / c near zero, 2 |d| far from it.

        Args:
            predicted: (B, C, H, W).
            target: (B, C, H, W).
            level: how noisy each sample is.
        Returns:
            Distance of each element (B, C, H, W), float32.
        """
        c = self.schedule.at(self.threshold, level)[:, None, None, None]
        return 2 * _rounded(predicted.float() - target.float(), c)


Loss = Annotated[L2 | L1 | Huber | SmoothL1, Field(discriminator="kind")]


def mask_weights(mask: Tensor, *, unmasked_weight: float, normalise: bool) -> Tensor:
    """How much each place of a latent counts.

    Args:
        mask: share of each place that is to be learnt (B, 1, h, w), in [0, 1].
        unmasked_weight: least weight of a place, in [0, 1].
        normalise: divide by the mean over the picture, so that a small mask is no small loss.
    Returns:
        Weights (B, 1, h, w), of mean 1 in each sample where normalised.
    Source: OneTrainer `masked_losses`. sd-scripts multiplies and leaves it at that.
    """
    weights = mask.clamp(min=unmasked_weight)
    if not normalise:
        return weights
    # A crop may hold nothing of what is to be learnt; its loss is then 0, not 0 / 0.
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def per_sample(each: Tensor, mask: Tensor | None = None) -> Tensor:
    """Reduce distances to one number a sample: mask, then mean.

    Args:
        each: distance of each element (B, C, h, w).
        mask: weight of each place (B, 1, h, w); None weighs all alike.
    Returns:
        Losses (B,).
    """
    return (each if mask is None else each * mask).mean(dim=(1, 2, 3))


def _rounded(distance: Tensor, c: Tensor) -> Tensor:
    """sqrt(d^2 + c^2) - c, in a form that keeps its digits where d is much smaller than c."""
    squared = distance.square()
    return squared / ((squared + c * c).sqrt() + c)
