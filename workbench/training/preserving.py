"""Keeping a concept behind its trigger: shown without it, the model shall answer as its base does.

Some showings of the concept's pictures lose their trigger, and the target of those is what the
base answers at the same noised picture. Prior pictures say what ordinary prompts look like; this
says it of the very pictures that pull away from it, and needs no more pictures.

Source: "differential output preservation" in ostris' ai-toolkit, which asks both of every picture.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench import seeds
from workbench.data.dataset import Dataset
from workbench.data.loader import Item
from workbench.recipe import Recipe
from workbench.records.sampling import without_trigger

if TYPE_CHECKING:
    from workbench.training.batches import Batch
    from workbench.training.trainer import Trainer


def drawn_rows(
    recipe: Recipe, dataset: Dataset, items: Sequence[Item], *, epoch: int
) -> tuple[int, ...]:
    """Draw which showings of a micro-batch lose their trigger.

    Args:
        recipe: `training.preservation` says how many of those that have one.
        dataset: says which pictures have a trigger.
        items: of the micro-batch, (B,).
        epoch: counted from 0.
    Returns:
        Their places in the micro-batch; the same ones whenever it is asked for.
    """
    share = recipe.training.preservation
    if not share:
        return ()
    found = []
    for place, item in enumerate(items):
        numbers = epoch, item.record, item.repeat
        rng = seeds.python_random(recipe.training.seed, "preservation", *numbers)
        if rng.random() < share and dataset.words(dataset.records[item.record])[0]:
            found.append(place)
    return tuple(found)


def uncalled(dataset: Dataset, record: int, caption: str) -> str:
    """Take the trigger out of a caption.

    Args:
        dataset: knows trigger and class word.
        record: whose caption it is.
        caption: as it was drawn.
    Returns:
        The caption with the class word in the trigger's place.
    """
    trigger, class_word = dataset.words(dataset.records[record])
    return without_trigger(caption, trigger=trigger, class_word=class_word)


def uncalled_texts(recipe: Recipe, dataset: Dataset, texts: Sequence[str]) -> list[str]:
    """Say what a cache of text must hold besides the captions, so that nothing is encoded live.

    Args:
        recipe: says whether any caption loses its trigger.
        dataset: knows the triggers.
        texts: all captions that can be drawn.
    Returns:
        The captions without their triggers; empty where none loses it.
    """
    if not recipe.training.preservation:
        return []
    known = set(texts)
    words = {
        (subset.trigger, subset.class_word)
        for subset in recipe.data.subsets
        if subset.trigger and not subset.is_prior
    }
    every = (
        without_trigger(text, trigger=trigger, class_word=class_word)
        for text in texts
        for trigger, class_word in words
    )
    return [text for text in dict.fromkeys(every) if text not in known]


@torch.no_grad()
def base_answers(trainer: "Trainer", batch: "Batch", *, noisy: Tensor, level: Tensor) -> Tensor:
    """Ask the base what it makes of the showings that lost their trigger.

    Args:
        trainer: with the model, whose adapter is switched off for the question.
        batch: whose `preserved` rows are asked about.
        noisy: noised latents of the whole batch, (B, C, h, w).
        level: (B,).
    Returns:
        Predictions of those rows, (R, C, h, w), float32.
    """
    rows = list(batch.preserved)
    some = replace(
        batch,
        captions=tuple(batch.captions[row] for row in rows),
        text=None if batch.text is None else {n: t[rows] for n, t in batch.text.items()},
        sizes=tuple(batch.sizes[row] for row in rows),
        beside=None if batch.beside is None else batch.beside[rows],
    )
    model = trainer.accelerator.unwrap_model(trainer.model)
    with trainer.adapter.strength(0), trainer.accelerator.autocast():
        return model(noisy[rows], level[rows], some).float()
