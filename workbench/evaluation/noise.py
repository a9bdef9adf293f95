"""What a noise is like: drawn, measured, held against what was published, added to a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import seeds, settings
from workbench.diffusion import spectra
from workbench.diffusion.noise import Noise, Perlin, Pyramid
from workbench.diffusion.noise.reference import REFERENCES, Reference
from workbench.process import grid

if TYPE_CHECKING:
    from workbench.models.base import BaseSettings
    from workbench.models.family import Family

SIDE_PX = 64  # of the latents that the published numbers were measured on
NUM_SAMPLES, BATCH_SIZE, CHANNELS = 128, 4, 4
MAX_LAG = 24
TIMESTEPS = (100, 300, 500, 700, 999)
PICTURE_PX = 192  # decoding is what takes the time
# Noises of our own, which no published code draws.
OURS: dict[str, Noise] = {"pyramid": Pyramid(), "perlin-mixed": Perlin()}


@dataclass(frozen=True)
class Study:
    """One noise with all that is shown of it.

    Attributes:
        drawn: (N, C, H, W), float32.
        published: what its own code was measured to give, if it has any.
        pictures: label to picture (H, W, 3), uint8; empty without a base model.
    """

    name: str
    noise: Noise
    drawn: Tensor
    published: Reference | None
    pictures: Mapping[str, np.ndarray]

    @cached_property
    def summary(self) -> spectra.Summary:
        """Its numbers."""
        return spectra.summarise(self.drawn)

    @cached_property
    def power(self) -> np.ndarray:
        """Mean power of each frequency (H, W)."""
        return spectra.power_spectrum(self.drawn).numpy()

    @cached_property
    def radial(self) -> np.ndarray:
        """Mean power by frequency (K,)."""
        return spectra.radial_mean(torch.from_numpy(self.power)).numpy()

    @cached_property
    def phase(self) -> np.ndarray:
        """Phases of the first field (H, W)."""
        return spectra.phase_spectrum(self.drawn[0, 0]).numpy()

    @cached_property
    def correlation(self) -> np.ndarray:
        """Correlation by distance (L,)."""
        few = self.drawn[: NUM_SAMPLES // 2]
        return spectra.autocorrelation(few, range(MAX_LAG)).numpy()

    @property
    def rings(self) -> dict[int, float]:
        """Published powers by frequency."""
        powers = self.published.powers if self.published else ()
        return dict(zip(spectra.FREQUENCIES, powers, strict=False))

    @property
    def explanation(self) -> str:
        """What the noise is for: the first sentence of its class."""
        return (type(self.noise).__doc__ or "").split("\n")[0]

    @property
    def choice(self) -> str:
        """Its settings in one line of TOML, those left at their default left out."""
        return _inline(_chosen(self.noise))


class Scene:
    """A picture under noise, as a base model's autoencoder shows it.

    Args:
        family: the base model.
        picture: RGB, its sides multiples of `codec.side_multiple_px`.
    """

    def __init__(self, family: "Family", picture: Image.Image):
        self.family, self.size_px = family, picture.size
        colours = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None]
        self.pixels = colours / 127.5 - 1  # (1, 3, H, W)
        with torch.no_grad(), family.using("codec"):
            self.latents = family.codec.encode(self.pixels.to(family.device)).mean

    @cached_property
    def snr(self) -> list[float]:
        """Signal-to-noise ratio at each level of `process.grid`."""
        return self.family.process.snr(grid(self.family.process)).tolist()

    @torch.no_grad()
    def under(
        self, noise: Noise, *, seed: int = 0, timesteps: Sequence[int] = TIMESTEPS
    ) -> dict[str, np.ndarray]:
        """Noise the picture to several timesteps, with one draw, and decode it.

        Args:
            noise: what is added.
            seed: of the draw.
            timesteps: in [0, 1000).
        Returns:
            Label to picture (H, W, 3), uint8.
        """
        drawn = noise.draw(self.latents, seeds.generator(seed, "noise"))
        count = len(timesteps)
        process, codec = self.family.process, self.family.codec
        noisy, _ = process.mix(
            self.latents.expand(count, -1, -1, -1),
            drawn.expand(count, -1, -1, -1),
            process.at(torch.tensor(timesteps)).to(self.latents.device),
        )
        with self.family.using("codec"):
            decoded = codec.decode(noisy)
        pixels = (decoded * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
        return {f"t = {t}": one.numpy() for t, one in zip(timesteps, pixels, strict=True)}


def open_scene(base: "str | BaseSettings" = "critters", *, side_px: int = PICTURE_PX) -> Scene:
    """Take a drawn critter as the picture, and a base model's autoencoder.

    Args:
        base: as `base.path` in a recipe, or the whole section.
        side_px: of the picture; a multiple of 16.
    Returns:
        The scene.
    """
    from workbench.critters.draw import world
    from workbench.models.base import BaseSettings
    from workbench.models.loading import load

    picture, _ = world(0, 3, sizes=((side_px, side_px),))
    return Scene(load(BaseSettings(path=base) if isinstance(base, str) else base), picture)


def mean_power(noise: Noise, side: int, *, num_samples: int = 256, seed: int = 0) -> float:
    """Say how strong the mean of a noise is: what hides a picture's brightness.

    Args:
        noise: the noise.
        side: of the field, in latents: 16 for critters, 64 for SD1.5, 128 for SDXL.
        num_samples: fields of four channels that are drawn.
        seed: of the draws.
    Returns:
        Variance of a field's mean against that of white noise, 1 / side^2.
    """
    drawn = noise.draw(
        torch.zeros(num_samples, CHANNELS, side, side), seeds.generator(seed, "noise")
    )
    return float(drawn.mean((2, 3)).var()) * side**2


def everything() -> dict[str, Noise]:
    """All noises that are worth comparing, by name.

    Returns:
        White noise first, then what was published, then our own.
    """
    return {**{reference.name: reference.noise for reference in REFERENCES}, **OURS}


def study(
    name: str,
    noise: Noise,
    *,
    scene: Scene | None = None,
    seed: int = 0,
    num_samples: int | None = None,
) -> Study:
    """Draw a noise many times, in batches of four as a training run does.

    Args:
        name: what it is called; published numbers are found by it.
        noise: the noise.
        scene: shows what it does to a picture; None leaves that out.
        seed: of the draws.
        num_samples: how many are drawn, rounded up to whole batches; 128 by default.
    Returns:
        The study; numbers are measured when they are asked for.
    """
    generator = seeds.generator(seed, "noise")
    like = torch.zeros(BATCH_SIZE, CHANNELS, SIDE_PX, SIDE_PX)
    num_batches = -(-(num_samples or NUM_SAMPLES) // BATCH_SIZE)
    drawn = torch.cat([noise.draw(like, generator) for _ in range(num_batches)])
    known = {r.name: r for r in REFERENCES if r.noise == noise}
    pictures = scene.under(noise, seed=seed) if scene else {}
    return Study(name, noise, drawn, known.get(name), pictures)


def _chosen(one: settings.Settings) -> dict[str, object]:
    """Kind, and what differs from its defaults, also within."""
    found: dict[str, object] = {}
    for name, field in type(one).model_fields.items():
        value = getattr(one, name)
        if name != "kind" and value == field.get_default(call_default_factory=True):
            continue
        if isinstance(value, settings.Settings):
            value = _chosen(value)
        elif isinstance(value, tuple):
            value = [_chosen(x) if isinstance(x, settings.Settings) else x for x in value]
        found[name] = value
    return found


def _inline(value: object) -> str:
    """Plain data as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"
