"""How much each timestep counts, as a function of its signal-to-noise ratio.

A prediction's error is the same error in three units: eps-loss = SNR * x0-loss, and
v-loss = (SNR + 1) * x0-loss. So a weight w on the eps-loss is w * SNR / (SNR + 1) on the v-loss.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from workbench.process import Prediction
from workbench.settings import Settings, setting

MAX_SNR = 1000.0  # of debiased: the cap of sd-scripts and OneTrainer
MIN_SNR = 1e-8  # keeps 1 / sqrt(SNR) finite at zero terminal SNR


class _Weighting(Settings):
    normalise: bool = setting(
        False,
        help="divide by the mean weight over the trained timesteps, so that loss, gradient clip "
        "and learning rate keep their meaning",
    )


class Constant(Settings):
    """Every timestep counts the same."""

    kind: Literal["constant"] = "constant"
    normalise: ClassVar[bool] = False

    def weights(self, snr: Tensor, prediction: Prediction) -> Tensor:
        """Ones.

        Args:
            snr: signal-to-noise ratio of each sample's timestep, (B,).
            prediction: what the model predicts; it makes no difference here.
        Returns:
            Weights (B,), all 1.
        """
        return snr.new_ones(snr.shape)


class MinSNR(_Weighting):
    """Caps what easy, low-noise timesteps contribute, so that training converges sooner.

    Source: Hang et al. 2023, arXiv 2303.09556. On the schedule of SD the mean weight for epsilon is
    about 0.92 at gamma 5, so the loss reads a little lower than unweighted.
    """

    kind: Literal["min_snr"] = "min_snr"
    gamma: float = setting(5.0, gt=0, le=100, help="cap on the ratio; 5 in the paper")

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


class SoftMinSNR(_Weighting):
    """Min-SNR without its corner: the weight falls smoothly instead of from one timestep on.

    Source: Crowson et al. 2024, arXiv 2401.11605 (gamma 4 there). On the schedule of SD the mean
    weight for epsilon is about 0.80 at gamma 5.
    """

    kind: Literal["soft_min_snr"] = "soft_min_snr"
    gamma: float = setting(5.0, gt=0, le=100, help="ratio at which the weight has fallen to a half")

    def weights(self, snr: Tensor, prediction: Prediction) -> Tensor:
        """Gamma / (SNR + gamma) for epsilon, that times SNR / (SNR + 1) for v.

        Args:
            snr: signal-to-noise ratio of each sample's timestep, (B,), >= 0.
            prediction: what the model predicts.
        Returns:
            Weights (B,), in [0, 1].
        """
        soft = self.gamma / (snr + self.gamma)
        return soft if prediction == "epsilon" else soft * (snr / (snr + 1))


class Debiased(_Weighting):
    """Noisy timesteps count far more: the error in the picture they stand for is larger.

    On the schedule of SD the mean weight for epsilon is about 3.0, from 0.03 to 14.6. What it is
    for v is disputed: `linear` puts the paper's ideal 1/SNR into units of v and drops the root,
    which the paper took for numerical reasons; `root` only replaces SNR by SNR + 1.
    Source: Yu et al. 2023, arXiv 2310.08442; sd-scripts issue 1058 and pull request 1715.
    """

    kind: Literal["debiased"] = "debiased"
    velocity: Literal["linear", "root"] = setting(
        "linear",
        help="for a base that predicts v: linear is 1 / (SNR + 1) as in sd-scripts, root is "
        "1 / sqrt(SNR + 1) as in OneTrainer",
    )

    def weights(self, snr: Tensor, prediction: Prediction) -> Tensor:
        """1 / sqrt(SNR) for epsilon; for v what `velocity` says. SNR is capped at 1000.

        Args:
            snr: signal-to-noise ratio of each sample's timestep, (B,), >= 0.
            prediction: what the model predicts.
        Returns:
            Weights (B,), >= 0.
        """
        capped = snr.clamp(min=MIN_SNR, max=MAX_SNR)
        if prediction == "epsilon":
            return capped.rsqrt()
        return (capped + 1).rsqrt() if self.velocity == "root" else 1 / (capped + 1)


class P2(_Weighting):
    """Clean timesteps, which only add what no eye sees, count less: content before polish.

    Source: Choi et al. 2022, arXiv 2204.00227, with k = 1. The same for v, where gamma 1 is
    `debiased`'s linear form; OneTrainer has (SNR + 2)^-gamma there. On the schedule of SD the mean
    weight is about 0.63 at gamma 1.
    """

    kind: Literal["p2"] = "p2"
    gamma: float = setting(
        1.0, ge=0, le=4, help="strength; 0.5 to 1 in the paper, 0 is no weighting"
    )

    def weights(self, snr: Tensor, prediction: Prediction) -> Tensor:
        """(1 + SNR)^-gamma.

        Args:
            snr: signal-to-noise ratio of each sample's timestep, (B,), >= 0.
            prediction: what the model predicts; it makes no difference here.
        Returns:
            Weights (B,), in [0, 1].
        """
        return (1 + snr) ** -self.gamma


Weighting = Annotated[Constant | MinSNR | SoftMinSNR | Debiased | P2, Field(discriminator="kind")]
