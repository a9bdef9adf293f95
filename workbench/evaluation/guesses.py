"""What a model makes out at each timestep: its guess of the clean picture behind the noise."""

from collections.abc import Sequence

import torch
from PIL import Image

from workbench import seeds
from workbench.data.inpainting import InpaintingSettings
from workbench.evaluation.noise import TIMESTEPS, Scene
from workbench.models.family import Condition, SizeInfo
from workbench.records.sampling import evaluating, to_images


def guesses(
    scene: Scene, caption: str, *, timesteps: Sequence[int] = TIMESTEPS, seed: int = 0
) -> dict[int, tuple[Image.Image, Image.Image]]:
    """Noise a picture and let the model say in one step what it was.

    Where its guess is blurred or wrong, there is something to learn at that timestep.

    Args:
        scene: the picture, and the model.
        caption: what the model is told of it.
        timesteps: in thousandths of the way to noise, 0 to 999.
        seed: of the noise, one draw for all timesteps.
    Returns:
        Timestep to the noised picture and the guess.
    """
    family, latents = scene.family, scene.latents  # (1, C, h, w)
    process = family.process
    noise = torch.randn(latents.shape, generator=seeds.generator(seed, "noise")).to(latents)
    found = {}
    with family.using("codec"), evaluating(family):
        condition = _condition(scene, caption)
        for timestep in timesteps:
            level = process.at(torch.tensor([timestep])).to(family.device)
            noisy, _ = process.mix(latents, noise, level)
            said = family.denoise(noisy, level, condition)
            both = torch.cat([noisy, process.clean(noisy, said, level)])
            found[timestep] = tuple(to_images(family.codec.decode(both)))
    return found


def errors(scene: Scene, caption: str, *, timestep: int, seed: int = 0) -> torch.Tensor:
    """Noise a picture and measure at each place how wrong the model's answer is.

    Args:
        scene: the picture, and the model.
        caption: what the model is told of it.
        timestep: in thousandths of the way to noise, 0 to 999.
        seed: of the noise.
    Returns:
        Squared error against what training asks for, (1, C, h, w), on the CPU.
    """
    family, latents = scene.family, scene.latents
    noise = torch.randn(latents.shape, generator=seeds.generator(seed, "noise")).to(latents)
    level = family.process.at(torch.tensor([timestep])).to(family.device)
    with evaluating(family):
        noisy, target = family.process.mix(latents, noise, level)
        answer = family.denoise(noisy, level, _condition(scene, caption))
        return (answer - target).square().float().cpu()


def _condition(scene: Scene, caption: str) -> Condition:
    """What is told of the whole picture; a base that fills in sees it under a mask."""
    family = scene.family
    text = family.collate(family.encode_text([caption]))
    width, height = scene.size_px
    beside = None
    if family.inpaints:
        mask = InpaintingSettings(full=0.0).draw((height, width), seed=0, place=(0, 0))
        beside = family.beside(scene.pixels, mask[None])
    return Condition(text, (SizeInfo.whole(width, height),), beside)
