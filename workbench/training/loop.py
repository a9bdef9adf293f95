"""One optimizer step, and the loop of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench import seeds
from workbench.data.loader import Step
from workbench.diffusion.targets import corrupt, signal_to_noise

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
    """

    loss: float
    gradient_norm: float
    overflowed: bool
    num_samples: int


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
    batches: list[Batch] = []
    for place, micro_batch in enumerate(step.micro_batches):
        batch = trainer.batches.make(micro_batch, step=step.index)
        batches.append(batch)
        with trainer.gathering(last=place == len(step.micro_batches) - 1):
            loss = batch_losses(trainer, batch).sum() / num_samples
            trainer.accelerator.backward(loss)
        total += loss.detach()
    return update(trainer, total, batches)


def batch_losses(trainer: "Trainer", batch: "Batch") -> Tensor:
    """The weighted loss of each sample: corrupt, predict, compare.

    Args:
        trainer: the model and all that steers it.
        batch: clean latents and text.
    Returns:
        Losses (B,), float32, differentiable.
    """
    recipe, family = trainer.recipe, trainer.family
    seed, rank = recipe.training.seed, trainer.rank
    noise = recipe.noise.draw(batch.latents, seeds.generator(seed, "noise", batch.index, rank))
    timesteps = recipe.timesteps.draw(
        len(batch.records), seeds.generator(seed, "timesteps", batch.index, rank)
    ).to(family.device)
    noisy, target = corrupt(
        batch.latents,
        noise,
        timesteps,
        alphas_cumprod=trainer.alphas_cumprod,
        prediction=family.prediction_type,
    )
    seeds.reseed_global(seed, batch.index, rank)  # dropout draws from the global generators
    predicted = trainer.model(noisy, timesteps, batch)
    snr = signal_to_noise(timesteps, alphas_cumprod=trainer.alphas_cumprod)
    weights = recipe.weighting.weights(snr, family.prediction_type)
    return recipe.loss.per_sample(predicted, target) * weights


def update(trainer: "Trainer", loss: Tensor, batches: "list[Batch]") -> StepResult:
    """Clip, refuse what is not finite, and move the weights.

    Args:
        trainer: the model and all that steers it.
        loss: mean loss of the step, (), on the device.
        batches: the step's micro-batches, to name images if something is wrong.
    Returns:
        Loss and gradient norm.
    Raises:
        NotFinite: the gradient is NaN or infinite; nothing was changed.
    """
    trainer.accelerator.unscale_gradients()
    gradients = [p.grad for p in trainer.trainables.values() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    # The one moment where the processor waits for the device.
    loss_value, norm_value = trainer.average(torch.stack([loss, norm.to(loss.device)])).tolist()
    finite = math.isfinite(norm_value)
    scaled = trainer.accelerator.scaler is not None
    if not finite and (not scaled or not math.isfinite(loss_value)):
        trainer.optimizer.zero_grad(set_to_none=True)
        raise NotFinite(_blame(trainer, batches, loss_value, norm_value))
    if finite and (longest := trainer.recipe.training.gradient_clip) is not None:
        torch.nn.utils.clip_grads_with_norm_(trainer.trainables.values(), longest, norm)
    trainer.optimizer.step()
    if finite:
        trainer.schedule.step()
        if trainer.ema is not None:
            trainer.ema.update()
    trainer.optimizer.zero_grad(set_to_none=True)
    return StepResult(
        loss=loss_value,
        gradient_norm=norm_value,
        overflowed=not finite,
        num_samples=sum(len(batch.records) for batch in batches),
    )


def steps(trainer: "Trainer", start: int) -> Iterator[tuple[Step, StepResult]]:
    """Step after step, from a position on; the caller decides when to end.

    Args:
        trainer: the model and all that steers it.
        start: optimizer steps done before.
    Yields:
        Each step with its result, once it is done.
    Raises:
        NotFinite: a gradient is NaN or infinite.
    """
    for step in trainer.loader.steps(start):
        yield step, train_step(trainer, step)


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
