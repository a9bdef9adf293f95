"""Mark the base that fills in: what it draws inside a mask, and what it leaves alone outside."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline
from PIL import Image, ImageChops
from torch import Tensor

from workbench.critters import BASE
from workbench.critters.architecture import load_clip
from workbench.critters.attributes import VALUES, Attributes, caption
from workbench.critters.contrastive import embed_pictures
from workbench.critters.draw import draw
from workbench.critters.judge import Judge, labels_of, load_judge, read_pictures, to_pixels
from workbench.critters.measure import Bar, unseen
from workbench.data.inpainting import InpaintingSettings
from workbench.quiet import hush

SIDE_PX = 128
COVERED = 0.95  # share of what an attribute changes that the mask must hide
_SEEN = 24  # of 255: a pixel that changes by less is no part of an attribute
_LEAST_PX = 20  # that an attribute must change
# What is asked anew; a body's size and place move everything, and a background lies outside too.
ASKED = ("colour", "shape", "ears", "eyes", "mouth", "pattern", "hat")


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to fill in.

    Attributes:
        picture: drawn, held out from all training.
        mask: white is filled in.
        attribute: which one the prompt asks anew.
        wanted: what the filled picture should show.
        before: what the given picture shows.
    """

    picture: Image.Image
    mask: Image.Image
    attribute: str
    wanted: Attributes
    before: Attributes


def tasks(count: int) -> list[Task]:
    """Choose held-out pictures, random masks, and for each what it hides, to be asked anew.

    Args:
        count: how many.
    Returns:
        Tasks, always the same ones.
    """
    masks, found = InpaintingSettings(full=0.0), []
    for number, attributes in enumerate(unseen(8 * count)):
        rng = random.Random(f"fill {number}")
        mask = masks.draw((SIDE_PX, SIDE_PX), seed=1, place=(number, 0))[0].numpy() > 0
        picture = draw(attributes, SIDE_PX, SIDE_PX)
        for name in rng.sample(ASKED, len(ASKED)):
            wanted = _other(attributes, name, rng)
            if _hidden(picture, draw(wanted, SIDE_PX, SIDE_PX), mask):
                cover = Image.fromarray((mask * 255).astype(np.uint8))
                found.append(Task(picture, cover, name, wanted, attributes))
                break
        if len(found) == count:
            return found
    raise AssertionError("too few masks hide an attribute")


def _other(attributes: Attributes, name: str, rng: random.Random) -> Attributes:
    now = getattr(attributes, name)
    return replace(attributes, **{name: rng.choice([v for v in VALUES[name] if v != now])})


def _hidden(one: Image.Image, other: Image.Image, mask: np.ndarray) -> bool:
    changed = np.asarray(ImageChops.difference(one, other)).max(-1) > _SEEN
    return changed.sum() >= _LEAST_PX and bool((changed & mask).sum() >= COVERED * changed.sum())


def load_filling(base: Path) -> StableDiffusionInpaintPipeline:
    """Load the base as a user of diffusers would.

    Args:
        base: diffusers folder of nine channels.
    Returns:
        Pipeline in fp32 with a DDIM scheduler, silent.
    """
    hush()
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(base, dtype=torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def fill(
    pipeline: StableDiffusionInpaintPipeline, some: Sequence[Task], *, batch_size: int = 8
) -> Iterator[Image.Image]:
    """Fill pictures in, each from a seed of its own: 25 DDIM steps, guidance 4.

    Args:
        pipeline: the base.
        some: what to fill in.
        batch_size: pictures at a time.
    Yields:
        Pictures as they are decoded, nothing pasted.
    """
    for start in range(0, len(some), batch_size):
        chunk = some[start : start + batch_size]
        seeds = [torch.Generator().manual_seed(start + index) for index in range(len(chunk))]
        called: Any = pipeline
        yield from called(
            [caption(task.wanted) for task in chunk],
            image=[task.picture for task in chunk],
            mask_image=[task.mask for task in chunk],
            width=SIDE_PX,
            height=SIDE_PX,
            strength=1.0,
            num_inference_steps=25,
            guidance_scale=4.0,
            generator=seeds,
        ).images


def filling_bars(base: Path, *, count: int = 96) -> list[Bar]:
    """Mark a base that fills in.

    Args:
        base: diffusers folder of nine channels.
        count: number of held-out pictures.
    Returns:
        Share of masks in which the judge sees what was asked, share of pictures that CLIP takes for
        the asked one rather than for the given one, and errors outside the mask, in levels of 255.
    """
    some, judge = tasks(count), load_judge()
    drawn = list(fill(load_filling(base), some))
    pasted = [
        Image.composite(image, task.picture, task.mask)
        for image, task in zip(drawn, some, strict=True)
    ]
    outside = [_outside(image, task) for image, task in zip(drawn, some, strict=True)]
    untouched = [_outside(image, task) for image, task in zip(pasted, some, strict=True)]
    own = [_outside(image, task) for image, task in zip(_recoded(base, some), some, strict=True)]
    ratio = float(np.mean(outside) / np.mean(own))
    return [
        Bar("filled in: the judge sees what was asked", 100 * _seen(judge, pasted, some), 85),
        Bar("filled in: more like the asked than the given", 100 * _likelier(pasted, some), 85),
        Bar("outside the mask, pasted: error", float(np.mean(untouched)), 0, True, ""),
        Bar("outside the mask, unpasted: error", float(np.mean(outside)), 0, unit=""),
        Bar("the autoencoder's own error there", float(np.mean(own)), 0, unit=""),
        Bar("unpasted, times the autoencoder's", ratio, 1.2, True, ""),
    ]


def _seen(judge: Judge, pictures: Sequence[Image.Image], some: Sequence[Task]) -> float:
    read = read_pictures(judge, pictures)
    names = list(VALUES)
    hits = [
        read[task.attribute][row].item() == labels_of(task.wanted)[names.index(task.attribute)]
        for row, task in enumerate(some)
    ]
    return float(np.mean(hits))


@torch.no_grad()
def _likelier(pictures: Sequence[Image.Image], some: Sequence[Task]) -> float:
    """By the picture half of CLIP: the second measure beside the judge."""
    clip = load_clip(BASE)

    def embedded(images: Sequence[Image.Image]) -> Tensor:
        return embed_pictures(clip, to_pixels(images).float().div(127.5).sub(1))

    made = embedded(pictures)
    asked = embedded([draw(task.wanted, SIDE_PX, SIDE_PX) for task in some])
    given = embedded([task.picture for task in some])
    return ((made * asked).sum(1) > (made * given).sum(1)).float().mean().item()


@torch.no_grad()
def _recoded(base: Path, some: Sequence[Task]) -> Iterator[Image.Image]:
    """The given pictures through the autoencoder and back: what no base can do better."""
    vae: Any = load_filling(base).vae
    for task in some:
        pixels = torch.from_numpy(np.array(task.picture)).permute(2, 0, 1)[None] / 127.5 - 1
        decoded = vae.decode(vae.encode(pixels).latent_dist.mode()).sample[0]
        levels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        yield Image.fromarray(levels.permute(1, 2, 0).numpy())


def _outside(image: Image.Image, task: Task) -> float:
    """Mean difference from the given picture where nothing was to be filled in, of 255."""
    kept = np.asarray(task.mask) == 0
    apart = np.asarray(ImageChops.difference(image, task.picture), dtype=float)
    return float(apart[kept].mean())


def filling_sheet(base: Path, *, count: int = 12) -> Image.Image:
    """Paint what a table cannot say.

    Args:
        base: diffusers folder of nine channels.
        count: pictures.
    Returns:
        Five rows: given, given under its mask, filled in, the same pasted, and drawn as asked.
    """
    some = tasks(count)
    drawn = list(fill(load_filling(base), some))
    grey = Image.new("RGB", (SIDE_PX, SIDE_PX), "grey")
    rows = [
        [task.picture for task in some],
        [Image.composite(grey, task.picture, task.mask) for task in some],
        drawn,
        [Image.composite(i, t.picture, t.mask) for i, t in zip(drawn, some, strict=True)],
        [draw(task.wanted, SIDE_PX, SIDE_PX) for task in some],
    ]
    step = SIDE_PX + 4
    sheet = Image.new("RGB", (step * count - 4, step * len(rows) - 4), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (step * column, step * row))
    return sheet
