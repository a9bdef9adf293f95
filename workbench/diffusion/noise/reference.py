"""Published noises and what was measured of them, to hold our own against."""

from dataclasses import dataclass

from workbench.diffusion.noise import (
    KohyaPyramid,
    Mixture,
    Noise,
    Offset,
    Perlin,
    PowerLaw,
    WhitakerPyramid,
)
from workbench.diffusion.noise.base import Gaussian


@dataclass(frozen=True, slots=True)
class Reference:
    """A noise with the numbers measured on its published code, on fields of 64 x 64.

    Attributes:
        name: short, usable as a file name.
        noise: our settings for it.
        powers: at k = 0, 1, 4, 16 and 31 cycles a picture; 1 is white noise.
        mean_variance: of a field's mean.
        correlations: of pixels 1 and 8 apart.
    """

    name: str
    noise: Noise
    powers: tuple[float, float, float, float, float]
    mean_variance: float
    correlations: tuple[float, float]


# sd-scripts ties the lattice to the edges and adds the field as it is, of deviation 0.35.
_PERLIN = Perlin(octaves=4, persistence=0.5, perturbation=0, shift=False)
_ADDED = Mixture(parts=(Gaussian(), _PERLIN), weights=(1, 0.3516))

REFERENCES = (
    Reference("white", Gaussian(), (1, 1, 1, 1, 1), 2.44e-4, (0, 0)),
    Reference("offset-0.05", Offset(strength=0.05), (10, 1, 1, 1, 1), 2.5e-3, (0.002, 0.003)),
    Reference("offset-0.1", Offset(strength=0.1), (42, 1, 1, 1, 1), 1.1e-2, (0.01, 0.01)),
    Reference(
        "kohya-6-0.3",
        KohyaPyramid(levels=6, discount=0.3),
        (2.7, 1.8, 1.4, 0.98, 0.97),
        6.5e-4,
        (0.02, 0),
    ),
    Reference(
        "kohya-6-0.4",
        KohyaPyramid(levels=6, discount=0.4),
        (7.9, 2.7, 1.6, 0.99, 0.96),
        1.9e-3,
        (0.04, 0.004),
    ),
    Reference(
        "kohya-10-0.8",
        KohyaPyramid(levels=10, discount=0.8),
        (370, 24, 3.6, 0.77, 0.71),
        0.090,
        (0.28, 0.14),
    ),
    Reference(
        "kohya-10-0.9",
        KohyaPyramid(levels=10, discount=0.9),
        (735, 37, 4.0, 0.63, 0.58),
        0.18,
        (0.41, 0.25),
    ),
    Reference(
        "whitaker-0.9",
        WhitakerPyramid(discount=0.9),
        (825, 25, 2.9, 0.67, 0.63),
        0.20,
        (0.36, 0.25),
    ),
    Reference("white-perlin", _ADDED, (4.9, 9.2, 3.1, 0.89, 0.89), 1.2e-3, (0.11, 0.02)),
    Reference("perlin", _PERLIN, (37, 76, 20, 0.10, 0.01), 9e-3, (0.96, 0.19)),
    Reference("pink", PowerLaw(exponent=1), (0, 15, 4.6, 1.15, 0.60), 0, (0.30, 0.02)),
    Reference("brown", PowerLaw(exponent=2), (0, 126, 10, 0.63, 0.17), 0, (0.73, 0.20)),
    Reference("blue", PowerLaw(exponent=-1), (0, 0.05, 0.17, 0.65, 1.26), 0, (-0.18, 0)),
)
