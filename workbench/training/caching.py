"""What is encoded once before the first step, and what is said about the rest."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from workbench.data.cache import LatentCache, TextCache
from workbench.data.captions import CaptionSettings, is_fixed
from workbench.data.dataset import Dataset
from workbench.data.fills import FillCache, Fills
from workbench.models.family import Family
from workbench.recipe import Recipe
from workbench.records.events import Preparing

_REPORT_EVERY_S = 0.5
C = TypeVar("C", LatentCache, FillCache, TextCache)


def cache_latents(
    recipe: Recipe, dataset: Dataset, family: Family, *, accelerator: Any, home: Path
) -> Generator[Preparing, None, LatentCache | None]:
    """Encode the pictures that are not cached yet.

    Args:
        recipe: the run's settings.
        dataset: the pictures.
        family: the loaded base.
        accelerator: says which process fills the cache.
        home: where caches lie.
    Yields:
        How far it is.
    Returns:
        The cache; None where pictures are encoded in each step.
    """
    if dataset.is_drawn or not recipe.data.cache.latents:
        return None

    def build() -> tuple[LatentCache, Iterator[tuple[int, int]]]:
        cache = LatentCache(
            dataset,
            folder=home / "latents" / family.codec.key[:16],
            key=family.codec.key,
        )
        return cache, cache.build(family.codec.encode)

    return (yield from _first_then_all("caching latents", build, accelerator))


def cache_masked(
    fills: Fills, family: Family, *, accelerator: Any, home: Path
) -> Generator[Preparing, None, FillCache | None]:
    """Encode the masked pictures that are not cached yet, for a base that fills in.

    Args:
        fills: masks of the pictures.
        family: the loaded base.
        accelerator: says which process fills the cache.
        home: where caches lie.
    Yields:
        How far it is.
    Returns:
        The cache; None where nothing is filled in, or where pictures are encoded in each step.
    """
    dataset = fills.dataset
    if not family.inpaints or dataset.is_drawn or not dataset.settings.cache.latents:
        return None

    def build() -> tuple[FillCache, Iterator[tuple[int, int]]]:
        key = family.codec.key
        cache = FillCache(fills, folder=home / "masked" / key[:16], key=key)
        return cache, cache.build(family.beside)

    return (yield from _first_then_all("caching masked pictures", build, accelerator))


def cache_texts(
    texts: Sequence[str], family: Family, *, accelerator: Any, home: Path
) -> Generator[Preparing, None, TextCache]:
    """Encode the captions that are not cached yet, by a frozen text encoder.

    Args:
        texts: of `Dataset.texts`.
        family: the loaded base.
        accelerator: says which process fills the cache.
        home: where caches lie.
    Yields:
        How far it is.
    Returns:
        The cache.
    """

    def build() -> tuple[TextCache, Iterator[tuple[int, int]]]:
        cache = TextCache(folder=home / "texts" / family.text_key[:16], key=family.text_key)
        return cache, cache.build(texts, family.encode_text)

    return (yield from _first_then_all("caching captions", build, accelerator))


def why_live(recipe: Recipe, *, is_drawn: bool, trains_text: bool) -> str:
    """Say why captions must be encoded in each step.

    Args:
        recipe: the run's settings.
        is_drawn: pictures and captions are new in every epoch.
        trains_text: an adapter changes the text encoder.
    Returns:
        A reason; "" where they can be encoded once, before the first step.
    """
    captions = recipe.data.captions
    if trains_text:
        return "the text encoder learns"
    if not recipe.data.cache.text:
        return "data.cache.text is off"
    if is_drawn:
        return "every epoch draws new pictures"
    if is_fixed(captions) or captions.variants is not None:
        return ""
    changing = ("shuffle", "tag_dropout", "wildcards", "warmup_steps")
    causes = ", ".join(name for name in changing if getattr(captions, name))
    return f"they vary ({causes}); data.captions.variants draws some ahead"


def said_of_texts(captions: CaptionSettings, *, num_texts: int, live: str) -> str:
    """Tell the user how captions become embeddings in this run.

    Args:
        captions: how they vary.
        num_texts: texts encoded once.
        live: of `why_live`.
    Returns:
        A sentence.
    """
    if live:
        return f"captions are encoded in each step: {live}"
    if is_fixed(captions):
        return f"captions do not change: {num_texts} texts are encoded once"
    warmup = captions.warmup_steps
    after = f"; those of the first {warmup} steps are encoded live" if warmup else ""
    return f"{captions.variants} draws of each caption, {num_texts} texts, are encoded once{after}"


def _first_then_all(
    stage: str, build: Callable[[], tuple[C, Iterator[tuple[int, int]]]], accelerator: Any
) -> Generator[Preparing, None, C]:
    """Let the first process fill a cache; the others then find everything in it."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    cache, counts = build()
    yield from _throttled(stage, counts)
    if accelerator.is_main_process:
        accelerator.wait_for_everyone()
    return cache


def _throttled(stage: str, counts: Iterator[tuple[int, int]]) -> Iterator[Preparing]:
    """At most two events a second, and always the last."""
    told = 0.0
    for done, total in counts:
        if done == total or time.monotonic() - told > _REPORT_EVERY_S:
            told = time.monotonic()
            yield Preparing(stage=stage, done=done, total=total)
