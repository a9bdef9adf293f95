"""One optimizer step: ask, compare, move the weights."""

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench import seeds
from workbench.data.loader import Step
from workbench.diffusion.objective import SampleLosses
from workbench.diffusion.timesteps import NUM_BINS, bin_edges, sum_by_bin
from workbench.records.events import TimestepLoss
from workbench.training.preserving import base_answers

if TYPE_CHECKING:
    from workbench.training.batches import Batch
    from workbench.training.trainer import Trainer


class NotFinite(FloatingPointError):
    """A gradient is NaN or infinite; the weights are those of the step before."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one optimizer step came to.

    Attributes:
        loss: mean weighted loss over the step's samples.
        gradient_norm: 2-norm over all trainables before clipping.
        overflowed: fp16 gradients overflowed, so the step was skipped and the scale lowered.
        num_samples: images of this step, of this process.
        rates: learning rate of each group, as the step used it.
        timestep_losses: unweighted losses by timestep, of the bins that samples fell into.
    """

    loss: float
    gradient_norm: float
    overflowed: bool
    num_samples: int
    rates: dict[str, float]
    timestep_losses: tuple[TimestepLoss, ...] = ()


def train_step(trainer: "Trainer", step: Step) -> StepResult:
    """Take one optimizer step over one or more micro-batches.

    Args:
        trainer: the model and all that steers it.
        step: which images, in which micro-batches.
    Returns:
        Loss and gradient norm.
    Raises:
        NotFinite: the gradient is NaN or infinite; nothing was changed.
    """
    num_samples = sum(len(micro_batch.items) for micro_batch in step.micro_batches)
    total = torch.zeros((), device=trainer.family.device)
    by_bin = torch.zeros(2, NUM_BINS, device=trainer.family.device)
    batches: list[Batch] = []
    for place, micro_batch in enumerate(step.micro_batches):
        batch = trainer.batches.make(micro_batch, step=step.index)
        batches.append(batch)
        with trainer.gathering(last=place == len(step.micro_batches) - 1):
            found = batch_losses(trainer, batch)
            loss = found.weighted.sum() / num_samples
            trainer.accelerator.backward(loss)
        total += loss.detach()
        learned = [row for row in range(len(batch.records)) if row not in batch.preserved]
        by_bin += sum_by_bin(found.plain[learned], found.places[learned])
    return update(trainer, total, batches, by_bin=by_bin)


@dataclass(frozen=True, slots=True)
class Question:
    """What one micro-batch asks of the model.

    Attributes:
        level: how noisy each sample is, (B,), see `process`.
        noisy: noised latents (B, C, h, w).
        target: what the model should answer, (B, C, h, w).
    """

    level: Tensor
    noisy: Tensor
    target: Tensor


def question(trainer: "Trainer", batch: "Batch") -> Question:
    """Draw levels and noise for a micro-batch; the same ones whenever it is asked for.

    Args:
        trainer: the model and all that steers it.
        batch: clean latents.
    Returns:
        What the model is asked.
    """
    recipe, family = trainer.recipe, trainer.family
    seed, rank = recipe.training.seed, trainer.rank
    noise = recipe.noise.pair(batch.latents, seeds.generator(seed, "noise", batch.index, rank))
    draws = seeds.generator(seed, "timesteps", batch.index, rank)
    level = recipe.timesteps.draw(len(batch.records), draws, family.process).to(family.device)
    noisy, target = family.process.mix(batch.latents, noise.target, level, input_noise=noise.input)
    if batch.preserved:
        target = target.clone()
        answers = base_answers(trainer, batch, noisy=noisy, level=level)
        target[list(batch.preserved)] = answers.to(target.dtype)
    return Question(level, noisy, target)


def batch_losses(trainer: "Trainer", batch: "Batch") -> SampleLosses:
    """The loss of each sample: corrupt, predict, compare.

    Args:
        trainer: the model and all that steers it.
        batch: clean latents and text.
    Returns:
        Losses of each sample, float32; the weighted ones are differentiable.
    """
    asked = question(trainer, batch)
    # Dropout draws from the global generators.
    seeds.reseed_global(trainer.recipe.training.seed, batch.index, trainer.rank)
    predicted = trainer.model(asked.noisy, asked.level, batch)
    return trainer.objective(
        predicted, asked.target, asked.level, mask=batch.mask, importance=batch.weights
    )


def update(
    trainer: "Trainer", loss: Tensor, batches: "list[Batch]", *, by_bin: Tensor
) -> StepResult:
    """Clip, refuse what is not finite, and move the weights.

    Args:
        trainer: the model and all that steers it.
        loss: mean loss of the step, (), on the device.
        batches: the step's micro-batches, to name images if something is wrong.
        by_bin: sums and counts of the plain losses by timestep (2, bins), on the device.
    Returns:
        Loss and gradient norm.
    Raises:
        NotFinite: the gradient is NaN or infinite; nothing was changed.
    """
    trainer.accelerator.unscale_gradients()
    norm = _gradient_norm(trainer)
    # The one moment where the processor waits for the device.
    read = torch.cat([torch.stack([loss, norm.to(loss.device)]), by_bin.flatten()])
    loss_value, norm_value, *bins = trainer.average(read).tolist()
    finite = math.isfinite(norm_value)
    scaled = trainer.accelerator.scaler is not None
    if not finite and (not scaled or not math.isfinite(loss_value)):
        trainer.optimizer.zero_grad(set_to_none=True)
        raise NotFinite(_blame(trainer, batches, loss_value, norm_value))
    if finite and (longest := trainer.recipe.training.gradient_clip) is not None:
        torch.nn.utils.clip_grads_with_norm_(trainer.trainables.values(), longest, norm)
    rates = {group["name"]: group["lr"] for group in trainer.optimizer.param_groups}
    trainer.take_step()
    if finite:
        trainer.adapter.after_step()
        trainer.schedule.step()
        if trainer.ema is not None:
            with trainer.averaging.shown():
                trainer.ema.update()
    trainer.optimizer.zero_grad(set_to_none=True)
    return StepResult(
        loss=loss_value,
        gradient_norm=norm_value,
        overflowed=not finite,
        num_samples=sum(len(batch.records) for batch in batches),
        rates=rates,
        timestep_losses=_timestep_losses(trainer, bins),
    )


def _gradient_norm(trainer: "Trainer") -> Tensor:
    """2-norm over all trainables; no list of gradients outlives it, which would keep them all."""
    gradients = [p.grad for p in trainer.trainables.values() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def _timestep_losses(trainer: "Trainer", bins: list[float]) -> tuple[TimestepLoss, ...]:
    """Means of the bins that samples fell into; `bins` are sums and counts, a mean of processes."""
    spans = itertools.pairwise(bin_edges())
    processes = trainer.accelerator.num_processes
    return tuple(
        TimestepLoss(low, high, float(f"{total / count:.6g}"), round(count * processes))
        for (low, high), total, count in zip(spans, bins[:NUM_BINS], bins[NUM_BINS:], strict=True)
        if count
    )


def _blame(trainer: "Trainer", batches: "list[Batch]", loss: float, norm: float) -> str:
    """Say which images the step that failed had seen."""
    records = [record for batch in batches for record in batch.records]
    pairs = [pair for b in batches for pair in zip(b.records, b.latents, strict=True)]
    broken = [record for record, latents in pairs if not latents.isfinite().all()]
    names = [trainer.dataset.records[r].name for r in dict.fromkeys(broken or records)]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    cause = "their latents are not finite" if broken else "the images of this step"
    return (
        f"the loss is {loss:.4g} and the gradient norm {norm:.4g}; the weights are still those of "
        f"the step before. Images: {shown} ({cause})"
    )
