"""How picture and noise are mixed, and what the model is asked of the mixture.

The only file that knows a noise schedule. A *level* is how noisy a sample is in the process's own
coordinate: a timestep (int64) of a discrete schedule, sigma (float32) of a flow. Two coordinates
are common to all: a *thousandth* in [0, 1000), in which settings, plots and events speak of
timesteps, and a *place* in [0, 1]; both run from clean to noise.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

__all__ = ["THOUSAND", "DiscreteVP", "Flow", "Prediction", "Process", "grid"]

Prediction = Literal["epsilon", "v_prediction", "flow"]
THOUSAND = 1000  # the unit in which every process is spoken of


class Process(Protocol):
    """A way from pictures to noise."""

    @property
    def prediction(self) -> Prediction:
        """What the model answers."""
        ...

    @property
    def steps(self) -> int | None:
        """Length of a discrete schedule; None where levels are continuous."""
        ...

    @property
    def ends_in_noise(self) -> bool:
        """Whether a discrete schedule was rescaled so that its last step is noise alone."""
        ...

    def levels(self, lowest: int, highest: int, u: Tensor) -> Tensor:
        """Spread shares over a range.

        Args:
            lowest: first thousandth of the range.
            highest: last one, which belongs to it.
            u: shares in [0, 1], (B,).
        Returns:
            Levels (B,).
        """
        ...

    def at(self, thousandths: Tensor) -> Tensor:
        """The levels at some thousandths.

        Args:
            thousandths: in [0, 1000), whole or not, any shape.
        Returns:
            Levels of that shape.
        """
        ...

    def place(self, level: Tensor) -> Tensor:
        """How far levels are on the way from clean to noise.

        Args:
            level: (B,).
        Returns:
            Places in [0, 1], (B,), float32.
        """
        ...

    def mix(
        self, clean: Tensor, noise: Tensor, level: Tensor, *, input_noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Noise clean latents and say what the model should answer.

        Args:
            clean: latents (B, C, h, w).
            noise: (B, C, h, w).
            level: (B,).
            input_noise: what the latents are mixed with, where it is not `noise`: input
                perturbation (Ning et al. 2023, arXiv 2301.11706).
        Returns:
            Noised latents and target, both (B, C, h, w).
        """
        ...

    def snr(self, level: Tensor) -> Tensor:
        """Signal-to-noise ratio.

        Args:
            level: any shape.
        Returns:
            Of that shape, float32; 0 at pure noise.
        """
        ...

    def clean(self, noisy: Tensor, predicted: Tensor, level: Tensor) -> Tensor:
        """The clean latents that noised ones and the model's answer stand for.

        Args:
            noisy: (B, C, h, w).
            predicted: the model's answer, (B, C, h, w).
            level: (B,).
        Returns:
            (B, C, h, w).
        """
        ...


@dataclass(frozen=True, eq=False)
class DiscreteVP:
    """A variance-preserving schedule of so many steps: x_t = sqrt(a) x_0 + sqrt(1 - a) eps.

    Source: Ho et al. 2020, arXiv 2006.11239, eq. 4; Salimans and Ho 2022, arXiv 2202.00512, app. D.

    Attributes:
        alphas: a = alpha_bar of each step, (T,), float32, on the CPU; the end may be 0.
        prediction: "epsilon" asks for eps, "v_prediction" for sqrt(a) eps - sqrt(1 - a) x_0.
    """

    alphas: Tensor
    prediction: Prediction
    _on: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alphas)

    @property
    def ends_in_noise(self) -> bool:
        """See `Process`. Source: Lin et al. 2023, arXiv 2305.08891 (zero terminal SNR)."""
        return float(self.alphas[-1]) == 0

    def levels(self, lowest: int, highest: int, u: Tensor) -> Tensor:
        """See `Process`; timesteps, int64.

        The product is cut off before the range's start is added: places in [0, 1] that are scaled
        afterwards give another timestep in 40 of 2 million draws.
        """
        first = lowest * self.steps // THOUSAND
        count = (highest + 1) * self.steps // THOUSAND - first
        return first + (u * count).long().clamp(max=count - 1)

    def at(self, thousandths: Tensor) -> Tensor:
        """See `Process`; timesteps, int64."""
        if self.steps == THOUSAND:  # a product and a quotient would round
            return thousandths.long()
        return (thousandths * self.steps / THOUSAND).long()

    def place(self, level: Tensor) -> Tensor:
        """See `Process`; (t + 1/2) / T, the middle of the step."""
        return (level + 0.5) / self.steps

    def mix(
        self, clean: Tensor, noise: Tensor, level: Tensor, *, input_noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Process`."""
        signal, spread = (part.to(clean.dtype) for part in self._amplitudes(level, clean))
        noisy = signal * clean + spread * (noise if input_noise is None else input_noise)
        target = noise if self.prediction == "epsilon" else signal * noise - spread * clean
        return noisy, target

    def snr(self, level: Tensor) -> Tensor:
        """See `Process`; a / (1 - a)."""
        alpha_bar = self._alpha_bar(level)
        return alpha_bar / (1 - alpha_bar)

    def clean(self, noisy: Tensor, predicted: Tensor, level: Tensor) -> Tensor:
        """See `Process`; infinite for epsilon where nothing of the picture is left."""
        signal, spread = self._amplitudes(level, noisy)
        if self.prediction == "epsilon":
            return (noisy - spread * predicted) / signal
        return signal * noisy - spread * predicted

    def _alpha_bar(self, level: Tensor) -> Tensor:
        if level.device not in self._on:
            self._on[level.device] = self.alphas.to(level.device)
        return self._on[level.device][level]

    def _amplitudes(self, level: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(a) and sqrt(1 - a), shaped to multiply latents."""
        alpha_bar = self._alpha_bar(level.to(like.device))[:, None, None, None]
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


@dataclass(frozen=True)
class Flow:
    """A straight line from picture to noise: x = (1 - sigma) x_0 + sigma eps, target eps - x_0.

    Source: Lipman et al. 2023, arXiv 2210.02747; Esser et al. 2024, arXiv 2403.03206, section 2.
    """

    prediction: Prediction = "flow"
    steps: None = None
    ends_in_noise: bool = False  # it does, but nothing was rescaled, so no remedy is needed

    def levels(self, lowest: int, highest: int, u: Tensor) -> Tensor:
        """See `Process`; sigma, float32, in (0, 1)."""
        low, width = lowest / THOUSAND, (highest + 1 - lowest) / THOUSAND
        return (low + width * u).clamp(1e-5, 1 - 1e-5)

    def at(self, thousandths: Tensor) -> Tensor:
        """See `Process`; sigma, float32."""
        return thousandths.float() / THOUSAND

    def place(self, level: Tensor) -> Tensor:
        """See `Process`; sigma itself."""
        return level

    def mix(
        self, clean: Tensor, noise: Tensor, level: Tensor, *, input_noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Process`."""
        sigma = level.to(clean.device, clean.dtype)[:, None, None, None]
        noisy = (1 - sigma) * clean + sigma * (noise if input_noise is None else input_noise)
        return noisy, noise - clean

    def snr(self, level: Tensor) -> Tensor:
        """See `Process`; ((1 - sigma) / sigma)^2."""
        return ((1 - level) / level).square()

    def clean(self, noisy: Tensor, predicted: Tensor, level: Tensor) -> Tensor:
        """See `Process`; x - sigma v."""
        return noisy - level.to(noisy.device)[:, None, None, None] * predicted


def grid(process: Process) -> Tensor:
    """Levels that divide the way from clean to noise evenly: what tables and curves are made of.

    Args:
        process: any.
    Returns:
        All timesteps of a discrete schedule, or a thousand levels of a continuous one, (N,).
    """
    count = process.steps or THOUSAND
    return process.levels(0, THOUSAND - 1, (torch.arange(count) + 0.5) / count)
