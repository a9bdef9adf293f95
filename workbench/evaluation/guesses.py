"""What a model makes out at each timestep: its guess of the clean picture behind the noise."""

from collections.abc import Sequence

import torch
from PIL import Image

from workbench import seeds
from workbench.diffusion.targets import corrupt
from workbench.evaluation.noise import TIMESTEPS, Scene
from workbench.models.family import SizeInfo
from workbench.records.sampling import evaluating, to_images


def guesses(
    scene: Scene, caption: str, *, timesteps: Sequence[int] = TIMESTEPS, seed: int = 0
) -> dict[int, tuple[Image.Image, Image.Image]]:
    """Noise a picture and let the model say in one step what it was.

    Where its guess is blurred or wrong, there is something to learn at that timestep.

    Args:
        scene: the picture, and the model.
        caption: what the model is told of it.
        timesteps: 0 to 999.
        seed: of the noise, one draw for all timesteps.
    Returns:
        Timestep to the noised picture and the guess.
    """
    family, latents = scene.family, scene.latents  # (1, C, h, w)
    noise = torch.randn(latents.shape, generator=seeds.generator(seed, "noise")).to(latents)
    size = (latents.shape[3] * family.downsampling, latents.shape[2] * family.downsampling)
    known = SizeInfo(original=size, crop=(0, 0), target=size)
    found = {}
    with evaluating(family):
        text = family.encode_captions([caption])
        for timestep in timesteps:
            at = torch.tensor([timestep], device=family.device)
            noisy, _ = corrupt(
                latents,
                noise,
                at,
                alphas_cumprod=family.alphas_cumprod,
                prediction=family.prediction_type,
            )
            said = family.denoise(noisy, at, text, [known])
            clean = _clean(family.prediction_type, noisy, said, family.alphas_cumprod[timestep])
            found[timestep] = tuple(to_images(family.decode(torch.cat([noisy, clean]))))
    return found


def _clean(
    prediction: str, noisy: torch.Tensor, said: torch.Tensor, alpha_bar: torch.Tensor
) -> torch.Tensor:
    """The latents that noised latents and a prediction stand for.

    Source: Salimans and Ho 2022, arXiv 2202.00512, appendix D.
    """
    signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if prediction == "epsilon":
        return (noisy - spread * said) / signal
    return signal * noisy - spread * said
