"""Noises made of others: a mixture, an offset on top, a perturbation of what goes in."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from workbench.diffusion.noise.base import Gaussian, NoisePair, NoiseSettings, white
from workbench.diffusion.noise.perlin import Perlin
from workbench.diffusion.noise.power_law import PowerLaw
from workbench.diffusion.noise.pyramid import KohyaPyramid, Pyramid, WhitakerPyramid
from workbench.settings import setting

Simple = Annotated[
    Gaussian | Pyramid | WhitakerPyramid | KohyaPyramid | Perlin | PowerLaw,
    Field(discriminator="kind"),
]


class Mixture(NoiseSettings):
    """Several noises added with weights, brought back to unit variance."""

    kind: Literal["mixture"] = "mixture"
    parts: tuple[Simple, ...] = setting(
        (Gaussian(), PowerLaw()), min_length=1, help="the noises that are added"
    )
    weights: tuple[float, ...] | None = setting(
        None, help="weight of each part, >= 0; left out: all the same"
    )

    @model_validator(mode="after")
    def _a_weight_for_each_part(self) -> "Mixture":
        weights = self.weights
        if weights is None:
            return self
        if len(weights) != len(self.parts) or min(weights) < 0 or max(weights) == 0:
            raise ValueError(
                f"weights must be {len(self.parts)} numbers >= 0, one for each part and not all "
                f"0, got {list(weights)}"
            )
        return self

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw every part and add them.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W), of unit variance.
        """
        weights = self.weights or (1.0,) * len(self.parts)
        norm = sum(weight**2 for weight in weights) ** 0.5
        mixed = torch.zeros_like(like)
        for part, weight in zip(self.parts, weights, strict=True):
            mixed += weight / norm * part.draw(like, generator)
        return mixed


class Offset(NoiseSettings):
    """Noise plus one constant per channel, so that brightness far from the middle is learnt.

    Source: crosslabs.org/blog/diffusion-with-offset-noise (2023); adaptive scale and random
    strength as in sd-scripts. The variance is 1 + strength^2, as published: not brought back to 1.
    Differs: a random strength is drawn for each sample, not for the batch.
    """

    kind: Literal["offset"] = "offset"
    strength: float = setting(
        0.05, ge=0, le=1, basic=True, help="size of the constant; 0 leaves the noise as it is"
    )
    random_strength: bool = setting(
        False, help="draw each sample's strength evenly between 0 and `strength`"
    )
    adaptive: float = setting(
        0.0,
        ge=-1,
        le=1,
        help="added to the strength for each unit that a channel's mean is away from 0",
    )
    base: Annotated[Simple | Mixture, Field(discriminator="kind")] = setting(
        Gaussian(), help="the noise that the constant is added to"
    )

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the base noise with a random constant added to each channel.

        Args:
            like: clean latents (B, C, H, W); their means count where `adaptive` is not 0.
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W), of variance 1 + strength^2.
        """
        shift = torch.randn(like.shape[:2], generator=generator)  # (B, C)
        strength = torch.tensor(self.strength)
        if self.random_strength:
            strength = strength * torch.rand(len(like), 1, generator=generator)
        if self.adaptive:
            distance = like.float().mean(dim=(2, 3)).abs().cpu()
            strength = (strength + self.adaptive * distance).clamp(min=0)
        constant = (strength * shift)[:, :, None, None].to(like.device, like.dtype)
        return self.base.draw(like, generator) + constant

    def metadata(self) -> dict[str, Any]:
        """See `NoiseSettings`."""
        return self.base.metadata() | {
            "noise_offset": self.strength,
            "noise_offset_random_strength": self.random_strength,
            "adaptive_noise_scale": self.adaptive or None,
        }


class InputPerturbation(NoiseSettings):
    """Adds further noise to what the model sees, and still asks for the noise without it.

    The model learns to answer inputs that are a little off, as its own are when it samples.

    Source: Ning et al. 2023, arXiv 2301.11706: x_t = sqrt(a) x_0 + sqrt(1 - a) (eps + gamma xi),
    target eps; sd-scripts' ip_noise_gamma. OneTrainer's "perturbation noise" adds xi to the target
    too, which is only a larger variance.
    """

    kind: Literal["input_perturbation"] = "input_perturbation"
    gamma: float = setting(
        0.1, ge=0, le=1, basic=True, help="size of the further noise; 0.1 in the paper"
    )
    random_strength: bool = setting(
        False, help="draw each sample's gamma evenly between 0 and `gamma`"
    )
    base: Annotated[Simple | Mixture | Offset, Field(discriminator="kind")] = setting(
        Gaussian(), help="the noise that the model is asked for"
    )

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Draw what goes in.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            Noise (B, C, H, W), of variance 1 + gamma^2 over a base of variance 1.
        """
        return self.pair(like, generator).input

    def pair(self, like: Tensor, generator: torch.Generator) -> NoisePair:
        """Draw the base noise, and it with white noise added.

        Args:
            like: latents (B, C, H, W).
            generator: CPU generator.
        Returns:
            eps + gamma xi, and eps.
        """
        target = self.base.draw(like, generator)
        gamma = torch.tensor(self.gamma)
        if self.random_strength:
            gamma = gamma * torch.rand(len(like), 1, 1, 1, generator=generator)
        further = gamma.to(like.device, like.dtype) * white(like, generator)
        return NoisePair(target + further, target)

    def metadata(self) -> dict[str, Any]:
        """See `NoiseSettings`."""
        return self.base.metadata() | {
            "ip_noise_gamma": self.gamma,
            "ip_noise_gamma_random_strength": self.random_strength,
        }
