"""The stages before the U-Net: autoencoder, its decoder alone, CLIP's two halves."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from workbench.critters import BASE
from workbench.critters.architecture import load_clip, new_autoencoder, new_clip, save_clip
from workbench.critters.attributes import caption
from workbench.critters.compression import (
    autoencoder_loss,
    doodle,
    random_crops,
    reconstruction_loss,
    to_signed,
)
from workbench.critters.contrastive import PictureTeacher, TextTeacher
from workbench.critters.draw import WORLD_SIZES, plan, world
from workbench.critters.judge import load_judge
from workbench.critters.measure import HELD_OUT_WORLD, psnr, tag_accuracy
from workbench.critters.vocabulary import build_tokenizer
from workbench.pretrain.fitting import fit

SQUARE = ((128, 128),)
# Worlds are numbered so that what is measured (world 1) was never trained on.
TRAINING_WORLD, DECODER_WORLD = 0, 3


def draw_pictures(
    count: int,
    *,
    world_seed: int = TRAINING_WORLD,
    sizes: Sequence[tuple[int, int]] = SQUARE,
    doodled: float = 0.0,
) -> tuple[Tensor, list[str]]:
    """Draw pictures into memory, so that drawing costs a training step nothing.

    Args:
        count: number of pictures; 4,000 take 200 MB and ten seconds.
        world_seed: which world.
        sizes: (width, height) to choose from; what is not square is squeezed into the square.
        doodled: share of pictures that get shapes of any colour on top.
    Returns:
        Pictures as uint8 (count, 3, 128, 128), and their captions.
    """
    pixels = torch.empty(count, 3, 128, 128, dtype=torch.uint8)
    captions, rng = [], random.Random(world_seed)
    for index in range(count):
        picture, text = world(world_seed, index, sizes)
        square = picture.resize(SQUARE[0], Image.Resampling.BICUBIC)
        if rng.random() < doodled:
            square = doodle(square, rng)
        pixels[index] = torch.from_numpy(np.array(square)).permute(2, 0, 1)
        captions.append(text)
    return pixels, captions


@torch.no_grad()
def latent_scale(model: AutoencoderKL, pixels: Tensor) -> float:
    """Measure the factor that gives latents a standard deviation of one.

    Args:
        model: trained autoencoder.
        pixels: uint8 (N, 3, H, W).
    Returns:
        1 / standard deviation over all latents.
    """
    parts = [model.encode(to_signed(p), return_dict=False)[0].mode() for p in pixels.split(16)]
    return 1 / torch.cat(parts).std().item()


def train_autoencoder(folder: Path, *, minutes: float, pictures: int = 4000) -> None:
    """Train the autoencoder from nothing and write it in diffusers layout.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `vae/`.
        minutes: training time; 15 give about 26 dB on two cores.
        pictures: number of pictures drawn into memory.
    """
    torch.manual_seed(0)
    model = new_autoencoder()
    pixels, _ = draw_pictures(pictures, doodled=0.5)
    _fit_autoencoder(model, pixels, folder, minutes=minutes, learning_rate=1.2e-3)
    model.register_to_config(scaling_factor=latent_scale(model, draw_pictures(512)[0]))
    model.half().save_pretrained(folder / "vae")


def train_decoder(folder: Path, *, minutes: float, pictures: int = 6000) -> None:
    """Sharpen the base's autoencoder without moving its latents, so that a U-Net stays valid.

    Whole pictures, not crops: the decoder normalises over all that it sees, and a crop's mean and
    spread are not a picture's. Latents are encoded once, since the encoder does not change.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `vae/`.
        minutes: training time.
        pictures: number of pictures drawn into memory, others than the autoencoder saw.
    """
    model = AutoencoderKL.from_pretrained(BASE / "vae", dtype=torch.float32).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("encoder.", "quant_conv.")))
    pixels, _ = draw_pictures(pictures, world_seed=DECODER_WORLD, doodled=0.3)
    held_out, _ = draw_pictures(32, world_seed=HELD_OUT_WORLD)
    with torch.no_grad():
        parts = [model.encode(to_signed(p), return_dict=False)[0].mode() for p in pixels.split(16)]
    latents: Any = torch.cat(parts)  # decode asks for a FloatTensor

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        which = torch.randint(len(pixels), (4,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = model.decode(latents[which], return_dict=False)[0]
        return reconstruction_loss(decoded.float(), to_signed(pixels[which]))

    for step, loss in fit(model, loss_of, folder, minutes=minutes, learning_rate=8e-4):
        shown = f", {psnr(model, held_out):.2f} dB" if step % 500 == 0 else ""
        print(f"decoder step {step}: loss {loss:.4f}{shown}", flush=True)
    print(f"decoder: {psnr(model, held_out):.2f} dB on unseen pictures")
    model.half().save_pretrained(folder / "vae")


def _fit_autoencoder(
    model: AutoencoderKL, pixels: Tensor, folder: Path, *, minutes: float, learning_rate: float
) -> None:
    held_out, _ = draw_pictures(32, world_seed=HELD_OUT_WORLD)

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        crops = random_crops(pixels, generator, batch=16, side=64)
        return autoencoder_loss(model, crops, generator)

    for step, loss in fit(model, loss_of, folder, minutes=minutes, learning_rate=learning_rate):
        shown = f", {psnr(model, held_out):.2f} dB" if step % 500 == 0 else ""
        print(f"autoencoder step {step}: loss {loss:.4f}{shown}", flush=True)
    print(f"autoencoder: {psnr(model, held_out):.2f} dB on unseen pictures")


def train_text(folder: Path, *, minutes: float, pictures: int = 20_000) -> None:
    """Train CLIP's text half by itself and write the CLIP, whose picture half is still untrained.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `text_encoder/` and `clip/`.
        minutes: training time.
        pictures: number of captions.
    """
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    model = new_clip(tokenizer)
    model.set_attn_implementation("eager")
    teacher = TextTeacher(model)
    captions = [caption(plan(TRAINING_WORLD, index, SQUARE)[0]) for index in range(pictures)]

    def loss_of(step: int) -> Tensor:
        rng = random.Random(f"text {step}")
        return teacher(tokenizer, rng.sample(captions, 64), rng)

    for step, loss in fit(teacher, loss_of, folder, minutes=minutes, learning_rate=1e-3):
        print(f"text step {step}: loss {loss:.4f}", flush=True)
    save_clip(model, folder)


def shifted(pixels: Tensor, generator: torch.Generator, *, most_px: int = 6) -> Tensor:
    """Move pictures a little, so that patches are not known by heart; their edges are drawn out.

    Args:
        pixels: (B, 3, H, W).
        generator: decides how far, the same for the whole batch.
        most_px: in any direction.
    Returns:
        Pictures of the same shape.
    """
    height, width = pixels.shape[-2:]
    down, right = torch.randint(2 * most_px + 1, (2,), generator=generator).tolist()
    wider = F.pad(pixels, (most_px,) * 4, mode="replicate")
    return wider[..., down : down + height, right : right + width]


def train_vision(folder: Path, *, minutes: float, pictures: int = 16_000) -> None:
    """Train CLIP's picture half towards the base's text half, which stays as it is.

    Args:
        folder: gets `checkpoint.safetensors` and, at the end, `text_encoder/` and `clip/`.
        minutes: training time, that of a judge not counted.
        pictures: number of pictures drawn into memory.
    """
    torch.manual_seed(0)
    judge, model, sizes = load_judge(), load_clip(BASE).train(), SQUARE * 3 + WORLD_SIZES
    pixels, captions = draw_pictures(pictures, sizes=sizes)
    held_out, held_out_captions = draw_pictures(256, world_seed=HELD_OUT_WORLD, sizes=sizes)
    teacher = PictureTeacher(model, build_tokenizer(), judge.features(to_signed(pixels[:256])))

    def loss_of(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        which = torch.randint(len(pixels), (32,), generator=generator)
        texts = [captions[index] for index in which.tolist()]
        shown = shifted(to_signed(pixels[which]), generator)
        rng = random.Random(f"captions {step}")
        return teacher(shown, judge.features(shown), captions=texts, rng=rng)

    for step, loss in fit(teacher, loss_of, folder, minutes=minutes, learning_rate=1e-3):
        right = tag_accuracy(model, held_out, held_out_captions) if step % 500 == 0 else None
        said = "" if right is None else f", tags of unseen pictures {right:.1%} right"
        print(f"vision step {step}: loss {loss:.4f}{said}", flush=True)
    print(f"clip: {tag_accuracy(model, held_out, held_out_captions):.1%} of tags right")
    save_clip(model, folder)


STAGES = {
    "autoencoder": train_autoencoder,
    "decoder": train_decoder,
    "text": train_text,
    "vision": train_vision,
}
