"""What the autoencoder learns from: crops of the world, and more colours than the world has."""

import random
from typing import Any

import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageDraw
from torch import Tensor

from workbench.critters.pen import INK


def doodle(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Scatter shapes of any colour over a picture: the autoencoder must learn more than a world.

    Without them it painted a red eye patch black: it had never seen red in that place.

    Args:
        picture: drawn on in place.
        rng: decides what and where.
    Returns:
        The picture.
    """
    canvas = ImageDraw.Draw(picture)
    width, height = picture.size
    for _ in range(rng.randint(3, 9)):
        colour = tuple(rng.randrange(256) for _ in range(3))
        edge = rng.choice((INK, colour, tuple(rng.randrange(256) for _ in range(3))))
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(5, 26)
        line, kind = rng.randint(2, 5), rng.randrange(4)
        box = (x - size, y - size * rng.uniform(0.3, 1), x + size, y + size)
        if kind == 0:
            canvas.ellipse(box, fill=colour, outline=edge, width=line)
        elif kind == 1:
            canvas.ellipse(box, outline=edge, width=line)
        elif kind == 2:
            corners = [(x + rng.uniform(-size, size), y + rng.uniform(-size, size)) for _ in "abc"]
            canvas.polygon(corners, fill=colour, outline=edge, width=line)
        else:
            end = (x + rng.uniform(-30, 30), y + rng.uniform(-30, 30))
            canvas.line((x, y, *end), fill=colour, width=2 * line)
    return picture


def to_signed(pixels: Tensor) -> Tensor:
    """Bring stored pixels to the range that the autoencoder works in.

    Args:
        pixels: uint8, any shape.
    Returns:
        float32 in [-1, 1], same shape.
    """
    return pixels.float() / 127.5 - 1


def random_crops(pixels: Tensor, generator: torch.Generator, *, batch: int, side: int) -> Tensor:
    """Cut crops; a third get another brightness or contrast, so that dark scenes survive too.

    Args:
        pixels: uint8 (N, 3, H, W).
        generator: decides everything.
        batch: number of crops.
        side: of the square crops, at most H and W.
    Returns:
        float32 (batch, 3, side, side) in [-1, 1].
    """
    height, width = pixels.shape[-2:]
    which = torch.randint(len(pixels), (batch,), generator=generator)
    tops = torch.randint(height - side + 1, (batch,), generator=generator)
    lefts = torch.randint(width - side + 1, (batch,), generator=generator)
    corners = zip(which.tolist(), tops.tolist(), lefts.tolist(), strict=True)
    crops = to_signed(
        torch.stack([pixels[i, :, y : y + side, x : x + side] for i, y, x in corners])
    )
    flips = torch.rand(batch, 1, 1, 1, generator=generator) < 0.5
    crops = torch.where(flips, crops.flip(3), crops)
    swapped = torch.rand(batch, 1, 1, 1, generator=generator) < 0.33
    crops = torch.where(swapped, crops[:, torch.randperm(3, generator=generator)], crops)
    lit = torch.rand(batch, 1, 1, 1, generator=generator) < 0.33
    gain = 0.35 + 0.65 * torch.rand(batch, 3, 1, 1, generator=generator)
    shift = (1 - gain) * (2 * torch.rand(batch, 1, 1, 1, generator=generator) - 1)
    return torch.where(lit, crops * gain + shift, crops)


def reconstruction_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Measure how far a picture is from its original, edges counted a second time.

    L1 keeps outlines sharp, L2 is what PSNR measures, and the difference of neighbouring pixels
    stops the blur that both forgive.

    Args:
        predicted: (B, 3, H, W).
        target: (B, 3, H, W) in [-1, 1].
    Returns:
        Scalar.
    """
    error = predicted - target
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + 0.5 * edges


def autoencoder_loss(model: AutoencoderKL, crops: Tensor, generator: torch.Generator) -> Tensor:
    """Compute the loss of one step of the autoencoder.

    Args:
        model: in training.
        crops: (B, 3, H, W) in [-1, 1].
        generator: draws the noise of the posterior's sample.
    Returns:
        Scalar; the KL term (1e-6) only keeps latents from drifting to huge values.
    """
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(crops, return_dict=False)[0]
        noise = torch.randn(posterior.mean.shape, generator=generator)
        latents: Any = posterior.mean + posterior.std * noise  # decode asks for a FloatTensor
        decoded = model.decode(latents, return_dict=False)[0]
    mean, log_variance = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=(1, 2, 3)).mean()
    return reconstruction_loss(decoded.float(), crops) + 1e-6 * kl
