"""How far the prediction is from the target, per sample, and how much each timestep counts.

The order of the reduction is fixed: elementwise -> mean per sample -> weight by timestep -> mean.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from workbench.diffusion.targets import Prediction
from workbench.settings import Settings, setting


class L2(Settings):
    """Squared distance: what diffusion models are derived from."""

    kind: Literal["l2"] = "l2"

    def per_sample(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Mean squared distance of each sample.

        Args:
            predicted: (B, C, H, W).
            target: (B, C, H, W).
        Returns:
            Losses (B,), float32.
        """
        return (predicted.float() - target.float()).square().mean(dim=(1, 2, 3))


class L1(Settings):
    """Absolute distance: outliers count less, and so do fine details."""

    kind: Literal["l1"] = "l1"

    def per_sample(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Mean absolute distance of each sample.

        Args:
            predicted: (B, C, H, W).
            target: (B, C, H, W).
        Returns:
            Losses (B,), float32.
        """
        return (predicted.float() - target.float()).abs().mean(dim=(1, 2, 3))


class Huber(Settings):
    """Squared near zero and absolute far from it (pseudo-Huber): robust against odd images.

    Source: Ivanova et al. 2024, arXiv 2403.16728: 2c (sqrt(d^2 + c^2) - c).
    """

    kind: Literal["huber"] = "huber"
    threshold: float = setting(0.1, gt=0, le=10, help="distance c where square turns into absolute")

    def per_sample(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Mean pseudo-Huber distance of each sample.

        Args:
            predicted: (B, C, H, W).
            target: (B, C, H, W).
        Returns:
            Losses (B,), float32.
        """
        c = self.threshold
        distance = predicted.float() - target.float()
        return (2 * c * ((distance.square() + c * c).sqrt() - c)).mean(dim=(1, 2, 3))


Loss = Annotated[L2 | L1 | Huber, Field(discriminator="kind")]


class Constant(Settings):
    """Every timestep counts the same."""

    kind: Literal["constant"] = "constant"

    def weights(self, snr: Tensor, prediction: Prediction) -> Tensor:
        """Ones.

        Args:
            snr: signal-to-noise ratio of each sample's timestep, (B,).
            prediction: what the model predicts; it makes no difference here.
        Returns:
            Weights (B,), all 1.
        """
        return snr.new_ones(snr.shape)


class MinSNR(Settings):
    """Caps what easy, low-noise timesteps contribute, so that training converges sooner.

    Source: Hang et al. 2023, arXiv 2303.09556. On the schedule of SD the mean weight for epsilon is
    about 0.92 at gamma 5, so the loss reads a little lower than unweighted.
    """

    kind: Literal["min_snr"] = "min_snr"
    gamma: float = setting(5.0, gt=0, le=100, basic=True, help="cap on the ratio; 5 in the paper")

    def weights(self, snr: Tensor, prediction: Prediction) -> Tensor:
        """min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) / (SNR + 1) for v.

        Args:
            snr: signal-to-noise ratio of each sample's timestep, (B,), >= 0.
            prediction: what the model predicts.
        Returns:
            Weights (B,), in [0, 1].
        """
        if prediction == "epsilon":
            return (self.gamma / snr).clamp(max=1)  # min(SNR, gamma) / SNR, and 1 at SNR 0
        return snr.clamp(max=self.gamma) / (snr + 1)


Weighting = Annotated[Constant | MinSNR, Field(discriminator="kind")]
