"""Mark the base against its quality bars, on fixed pictures, captions and seeds."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPModel

from workbench.critters import BASE
from workbench.critters.architecture import load_clip
from workbench.critters.attributes import VALUES, Attributes, caption, words_of
from workbench.critters.contrastive import choose_tags, embed_captions, embed_pictures, tokenize
from workbench.critters.draw import WORLD_SIZES, draw, plan
from workbench.critters.judge import (
    Judge,
    accuracy,
    labels_of,
    load_judge,
    read_pictures,
    to_pixels,
)
from workbench.critters.vocabulary import build_tokenizer
from workbench.quiet import hush

# Worlds are numbered so that what is measured was never trained on.
HELD_OUT_WORLD = 1
SQUARE = ((128, 128),)


@dataclass(frozen=True)
class Bar:
    """One figure and what it should reach."""

    name: str
    value: float
    bound: float
    at_most: bool = False
    unit: str = "%"

    @property
    def met(self) -> bool:
        """Whether the figure reaches its bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        """Print one row of the table."""
        figure = f"{self.name:44} {self.value:7.2f} {self.unit:2}"
        if self.bound == 0 and not self.at_most:
            return f"{figure}  no bar"
        sign, verdict = ("<=", ">=")[not self.at_most], ("short", "pass")[self.met]
        return f"{figure}  {sign} {self.bound:g} {self.unit:2}  {verdict}"


def unseen(count: int, sizes: Sequence[tuple[int, int]] = SQUARE) -> list[Attributes]:
    """Choose critters that nothing was trained on.

    Args:
        count: how many.
        sizes: (width, height) to choose from; part of what makes the choice repeatable.
    Returns:
        Their attributes.
    """
    return [plan(HELD_OUT_WORLD, index, sizes)[0] for index in range(count)]


def unseen_pictures(count: int) -> list[Image.Image]:
    """Draw critters that nothing was trained on, square.

    Args:
        count: how many.
    Returns:
        Pictures of 128 x 128.
    """
    return [draw(attributes, 128, 128) for attributes in unseen(count)]


@torch.no_grad()
def psnr(autoencoder: AutoencoderKL, pixels: Tensor) -> float:
    """Measure what is lost by encoding and decoding.

    Args:
        autoencoder: in fp32.
        pixels: uint8 (N, 3, H, W).
    Returns:
        Mean of the pictures' PSNR in dB.
    """
    values = []
    for chunk in pixels.float().div(127.5).sub(1).split(8):
        latents: Any = autoencoder.encode(chunk, return_dict=False)[0].mode()
        decoded = autoencoder.decode(latents, return_dict=False)[0].clamp(-1, 1)
        error = ((decoded - chunk) / 2).square().mean(dim=(1, 2, 3))
        values.append(-10 * error.log10())
    return torch.cat(values).mean().item()


def load_pipeline(base: Path) -> StableDiffusionPipeline:
    """Load the base as a user of diffusers would.

    Args:
        base: diffusers folder.
    Returns:
        Pipeline in fp32 with a DDIM scheduler, silent.
    """
    hush()  # the loading bar has no switch but this, once the library is there
    pipeline = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def generate(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], *, batch_size: int = 8
) -> Iterator[Image.Image]:
    """Sample one picture a prompt, each from a seed of its own: 25 DDIM steps, guidance 4.

    Args:
        pipeline: the base, with or without a LoRA.
        prompts: what to show.
        batch_size: pictures at a time; it does not change them.
    Yields:
        Pictures of 128 x 128, in the prompts' order.
    """
    for start in range(0, len(prompts), batch_size):
        chunk = list(prompts[start : start + batch_size])
        seeds = [torch.Generator().manual_seed(start + index) for index in range(len(chunk))]
        pictures, _ = pipeline(
            chunk,
            width=128,
            height=128,
            num_inference_steps=25,
            guidance_scale=4.0,
            generator=seeds,
            return_dict=False,
        )
        yield from pictures


def _percent(shares: dict[str, float]) -> float:
    return 100 * float(np.mean(list(shares.values())))


def autoencoder_bars(base: Path) -> list[Bar]:
    """Mark the autoencoder.

    Args:
        base: diffusers folder.
    Returns:
        PSNR on 64 unseen pictures.
    """
    autoencoder = AutoencoderKL.from_pretrained(base / "vae", dtype=torch.float32)
    value = psnr(autoencoder, to_pixels(unseen_pictures(64)))
    return [Bar("autoencoder, unseen pictures", value, 29, unit="dB")]


def tag_accuracy(clip: CLIPModel, pixels: Tensor, captions: Sequence[str]) -> float:
    """Measure how many tags CLIP reads rightly off pictures.

    Args:
        clip: in evaluation mode or not: it has no dropout.
        pixels: uint8 (N, 3, 128, 128).
        captions: their captions.
    Returns:
        Share of right choices over all groups of tags, 0 to 1.
    """
    read = choose_tags(clip, build_tokenizer(), pixels.float().div(127.5).sub(1))
    right = [
        tag in text.split(", ")
        for row, text in zip(read, captions, strict=True)
        for tag, _ in row.values()
    ]
    return sum(right) / len(right)


@torch.no_grad()
def clip_bars(base: Path) -> list[Bar]:
    """Mark CLIP as a tagger and as a matcher.

    Args:
        base: diffusers folder.
    Returns:
        Share of right tags, and of pictures whose own caption ranks first among 64.
    """
    clip, tokenizer = load_clip(base), build_tokenizer()
    seen = unseen(64)
    captions = [caption(each) for each in seen]
    stored = to_pixels(unseen_pictures(64))
    right = 100 * tag_accuracy(clip, stored, captions)
    pixels = stored.float().div(127.5).sub(1)
    scores = embed_pictures(clip, pixels) @ embed_captions(clip, tokenize(tokenizer, captions)).T
    first = (scores.argmax(dim=1) == torch.arange(64)).float().mean().item()
    return [
        Bar("CLIP, right tags on unseen pictures", right, 90),
        Bar("CLIP, own caption first among 64", 100 * first, 90),
    ]


def judge_bars(judge: Judge) -> list[Bar]:
    """Mark the judge itself on drawn pictures, before it may mark others.

    Args:
        judge: trained.
    Returns:
        Its accuracy over all attributes on 512 unseen pictures of all sizes.
    """
    plans = [plan(HELD_OUT_WORLD, index, WORLD_SIZES) for index in range(512)]
    pictures = [draw(*each) for each in plans]
    right = accuracy(judge, pictures, [attributes for attributes, _, _ in plans])
    return [
        Bar("judge on drawn pictures, all attributes", 100 * float(np.mean([*right.values()])), 98)
    ]


def short_prompt(attributes: Attributes, rng: random.Random) -> tuple[str, frozenset[str]]:
    """Ask for some of a critter only, in any order.

    Args:
        attributes: what the whole caption would name.
        rng: decides what is named.
    Returns:
        Prompt of `critter` and three to five tags, and the attributes that it names.
    """
    named = [(name, tag) for name, tag in words_of(attributes).items() if tag]
    chosen = rng.sample(named, rng.randint(3, 5))
    return ", ".join(("critter", *(tag for _, tag in chosen))), frozenset(n for n, _ in chosen)


def shuffled(text: str, rng: random.Random) -> str:
    """Bring a caption's tags into another order.

    Args:
        text: tags separated by ", ".
        rng: decides the order.
    Returns:
        The same tags.
    """
    words = text.split(", ")
    rng.shuffle(words)
    return ", ".join(words)


def generation_bars(base: Path, judge: Judge, *, count: int = 96) -> Iterator[Bar]:
    """Mark what the base paints: whole captions, tags in another order, few tags.

    Args:
        base: diffusers folder.
        judge: trained.
        count: number of pictures of each kind.
    Yields:
        Share of pictures that show what the caption says, by attribute and over all of them; of
        short prompts, the share of what was asked for.
    """
    wanted, pipeline, rng = unseen(count), load_pipeline(base), random.Random("prompts")
    captions = [caption(each) for each in wanted]
    right = accuracy(judge, list(generate(pipeline, captions)), wanted)
    asked = {"colour": 95, "shape": 90, "background": 90}
    for name, share in right.items():
        yield Bar(f"generated: {name}", 100 * share, asked.get(name, 0))
    yield Bar("generated: mean over all attributes", _percent(right), 85)
    orders = [shuffled(text, rng) for text in captions]
    right = accuracy(judge, list(generate(pipeline, orders)), wanted)
    yield Bar("generated from tags in another order", _percent(right), 85)
    asks = [short_prompt(each, rng) for each in wanted]
    read = read_pictures(judge, list(generate(pipeline, [text for text, _ in asks])))
    labels = [dict(zip(VALUES, labels_of(each), strict=True)) for each in wanted]
    hits = [
        read[name][row].item() == labels[row][name]
        for row, (_, names) in enumerate(asks)
        for name in names
    ]
    yield Bar("generated from 3 to 5 tags, what they ask", 100 * float(np.mean(hits)), 85)


def character_share(judge: Judge, pictures: Sequence[Image.Image]) -> float:
    """Count in how many pictures the judge sees the character.

    Args:
        judge: trained.
        pictures: any number.
    Returns:
        Percentage, 0 to 100.
    """
    return 100 * read_pictures(judge, pictures)["character"].float().mean().item()


def measure(base: Path = BASE) -> Iterator[Bar]:
    """Mark everything.

    Args:
        base: diffusers folder.
    Yields:
        Bars as they are measured, a minute or two on two cores once the judge is trained.
    """
    yield from autoencoder_bars(base)
    yield from clip_bars(base)
    judge = load_judge()
    yield from judge_bars(judge)
    yield from generation_bars(base, judge)
