"""The noise that training adds to the latents, each kind drawn by the class that explains it."""

from typing import Annotated

from pydantic import Field

from workbench.diffusion.noise.base import Gaussian, NoisePair, white
from workbench.diffusion.noise.combined import InputPerturbation, Mixture, Offset
from workbench.diffusion.noise.perlin import Perlin
from workbench.diffusion.noise.power_law import PowerLaw
from workbench.diffusion.noise.pyramid import KohyaPyramid, Pyramid, WhitakerPyramid

__all__ = [
    "Gaussian",
    "InputPerturbation",
    "KohyaPyramid",
    "Mixture",
    "Noise",
    "NoisePair",
    "Offset",
    "Perlin",
    "PowerLaw",
    "Pyramid",
    "WhitakerPyramid",
    "white",
]

Noise = Annotated[
    Gaussian
    | Offset
    | Pyramid
    | WhitakerPyramid
    | KohyaPyramid
    | Perlin
    | PowerLaw
    | Mixture
    | InputPerturbation,
    Field(discriminator="kind"),
]
