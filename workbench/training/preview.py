"""The batches of a run looked at before it runs: made by the very functions that train on them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.data.loader import MicroBatch
from workbench.training.batches import Batch
from workbench.training.step import Question, question

if TYPE_CHECKING:
    from workbench.training.trainer import Trainer

__all__ = ["Preview", "pictures", "previews"]


@dataclass(frozen=True, slots=True)
class Preview:
    """One micro-batch as a step will see it.

    Attributes:
        step: optimizer step that it belongs to, counted from 0.
        micro_batch: which pictures, flipped or not.
        batch: latents, captions and sizes.
        asked: levels, noised latents and target.
        weights: how much each sample's loss counts (B,), by timestep and by subset.
    """

    step: int
    micro_batch: MicroBatch
    batch: Batch
    asked: Question
    weights: Tensor


def previews(trainer: "Trainer", count: int) -> Iterator[Preview]:
    """Make the first micro-batches of a run, and train on none of them.

    Args:
        trainer: assembled, at step 0.
        count: micro-batches, >= 1.
    Yields:
        Each of them in the order of training.
    """
    every = (
        (step.index, micro_batch)
        for step in trainer.loader.steps()
        for micro_batch in step.micro_batches
    )
    for step, micro_batch in islice(every, count):
        batch = trainer.batches.make(micro_batch, step=step)
        asked = question(trainer, batch)
        weights = trainer.objective.weights(asked.level)
        if batch.weights is not None:
            weights = weights * batch.weights
        yield Preview(step, micro_batch, batch, asked, weights)


@torch.no_grad()
def pictures(trainer: "Trainer", preview: Preview) -> Tensor:
    """Show a micro-batch's latents decoded: what the denoiser can learn from.

    Args:
        trainer: has the autoencoder.
        preview: one micro-batch.
    Returns:
        (B, 3, H, W) in [0, 1], on the CPU; decoded one by one, to need no more than one's memory.
    """
    latents = preview.batch.latents
    with trainer.family.using("codec"):
        return torch.cat([trainer.family.codec.decode(one[None]).cpu() for one in latents])
