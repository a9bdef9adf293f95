"""All that a step needs, put together from a recipe: base, data, caches, adapter, optimizer."""

import contextlib
import gc
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from workbench import seeds, store
from workbench.adapters import AttachedAdapter, Full
from workbench.adapters.naming import is_encoder
from workbench.data import dataset as data
from workbench.data.loader import Loader
from workbench.diffusion.noise import white
from workbench.diffusion.objective import Objective
from workbench.models import loading as models
from workbench.models.family import Condition, Family
from workbench.models.memory import give_back
from workbench.optim import Averaging, Ema
from workbench.optim.rounding import StandIns
from workbench.recipe import Recipe
from workbench.records.events import Preparing
from workbench.records.fixed import FixedInputs
from workbench.records.sampling import filled_prompts
from workbench.records.validation import StableLoss
from workbench.settings import SettingsError
from workbench.training.batches import Batch, Batches
from workbench.training.caching import (
    cache_latents,
    cache_masked,
    cache_texts,
    said_of_texts,
    why_live,
)
from workbench.training.devices import make_accelerator
from workbench.training.fitting import require_fit, with_masks, with_samples
from workbench.training.preserving import uncalled_texts

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer


class Denoiser(nn.Module):
    """The one module that holds every trainable part, so that processes share all its gradients."""

    def __init__(self, family: Family, trained: dict[str, nn.Module]):
        super().__init__()
        self.trained = nn.ModuleDict(trained)
        self.family = family

    def forward(self, noisy: Tensor, level: Tensor, batch: Batch) -> Tensor:
        """Predict, encoding the captions first where the text encoder learns.

        Args:
            noisy: noised latents (B, C, h, w).
            level: (B,).
            batch: captions or text, sizes, and what is laid beside.
        Returns:
            Prediction (B, C, h, w).
        """
        text = batch.text or self.family.collate(self.family.encode_text(batch.captions))
        condition = Condition(text, batch.sizes, batch.beside)
        return self.family.denoise(noisy, level, condition)


@dataclass
class Trainer:
    """What a step reads and changes.

    Attributes:
        model: the denoiser, wrapped for precision and many processes.
        trainables: name to parameter, in a fixed order.
        fixed: what the reload proof asks the model.
        objective: from predictions to losses.
        total_steps: optimizer steps planned; None when only a time is given.
        held_out: record indices never trained on.
        num_overflows: fp16 steps skipped so far.
        stand_ins: what the optimizer moves in place of bf16 weights.
        averaging: the second set of weights of an optimizer that averages.
        changes: settings that resumes of this run changed, with their steps, for the file.
    """

    recipe: Recipe
    accelerator: "Accelerator"
    family: Family
    dataset: data.Dataset
    loader: Loader
    batches: Batches
    adapter: AttachedAdapter
    model: nn.Module
    optimizer: "AcceleratedOptimizer"
    schedule: LambdaLR
    ema: Ema | None
    stable_loss: StableLoss
    fixed: FixedInputs
    total_steps: int | None
    train_records: list[int]
    held_out: list[int]
    num_overflows: int = 0
    stand_ins: StandIns | None = None
    changes: list[str] = field(default_factory=list)
    averaging: Averaging = field(init=False)
    trainables: dict[str, nn.Parameter] = field(init=False)
    objective: Objective = field(init=False)

    def __post_init__(self) -> None:
        self.trainables = dict(self.adapter.trainables)
        self.averaging = Averaging(self.optimizer.optimizer, self.stand_ins)
        self.objective = Objective(
            self.recipe.loss,
            self.recipe.weighting,
            self.recipe.timesteps,
            process=self.family.process,
        )

    @property
    def rank(self) -> int:
        """Process index; 0 alone speaks."""
        return self.accelerator.process_index

    @contextlib.contextmanager
    def gathering(self, *, last: bool) -> Iterator[None]:
        """Gather gradients here, and exchange them between processes in the last micro-batch only.

        Args:
            last: this is the step's last micro-batch.
        """
        with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
            yield

    def average(self, values: Tensor) -> Tensor:
        """Mean over processes; free in a single one.

        Args:
            values: one number each process, any shape.
        Returns:
            The means.
        """
        if self.accelerator.num_processes == 1:
            return values
        return self.accelerator.reduce(values, reduction="mean")  # type: ignore[return-value]

    def untrained(self) -> contextlib.AbstractContextManager[None]:
        """The base, before the first step; a full fine-tune is its base until then."""
        full = isinstance(self.adapter.settings, Full)
        return contextlib.nullcontext() if full else self.adapter.strength(0)

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """The weights that are saved and sampled: an average where there is one."""
        with self.ema.swapped() if self.ema is not None else self.averaging.shown():
            yield

    def take_step(self) -> None:
        """Let the optimizer move the weights by their gradients."""
        if self.stand_ins is None:
            self.optimizer.step()
            return
        self.stand_ins.step(
            self.optimizer,
            seed=self.recipe.training.seed,
            step=self.schedule.last_epoch,
            apart=self.recipe.optimizer.apart,
        )

    def stable_losses(self, record: int, level: Tensor, generator: torch.Generator) -> Tensor:
        """Plain squared errors of one image at some levels; see `StableLoss.measure`.

        Args:
            record: image.
            level: (N,).
            generator: CPU generator of the noise.
        Returns:
            Losses (N,).
        """
        latents = self.batches.clean_latents(record).expand(len(level), -1, -1, -1)
        level = level.to(latents.device)
        noisy, target = self.family.process.mix(latents, white(latents, generator), level)
        condition, predicted = self.batches.condition(record), []
        most = self.recipe.training.batch_size  # what fits for training fits here
        for some, when in zip(noisy.split(most), level.split(most), strict=True):
            with self.accelerator.autocast():
                predicted.append(self.family.denoise(some, when, condition.repeated(len(when))))
        return (torch.cat(predicted).float() - target.float()).square().mean(dim=(1, 2, 3))


def assemble(
    recipe: Recipe,
    *,
    folder: Path,
    dataset: data.Dataset | None = None,
    home: Path | None = None,
) -> Generator[Preparing, None, Trainer]:
    """Load, index, cache and attach all that a run needs.

    Args:
        recipe: the run's settings.
        folder: the run folder, where trackers may write.
        dataset: the pictures, where they were read already.
        home: where caches lie, if not where all runs share them.
    Yields:
        What is being prepared, and how far it is.
    Returns:
        The trainer, at step 0.
    Raises:
        SettingsError, FileRefused: the recipe, the base or the data cannot be used as they are.
    """
    gc.collect()  # an earlier run's model may sit in a reference cycle and fill the device
    accelerator = make_accelerator(recipe, folder)
    yield Preparing(stage="reading images", done=0, total=1)
    recipe = with_masks(recipe)
    if dataset is None or dataset.settings != recipe.data:
        dataset = data.index(recipe.data)
    train, held_out = data.split(dataset, recipe.data.holdout, seed=recipe.training.seed)
    yield Preparing(stage="loading the base", done=0, total=1)
    family = models.load(
        recipe.base, device=accelerator.device, max_tokens=recipe.data.captions.max_tokens
    )
    recipe = with_samples(recipe, family, dataset, split=(train, held_out), folder=folder)
    adapter = recipe.adapter.attach(
        family.parts,
        family.targets,
        generator=seeds.generator(recipe.training.seed, "adapter"),
        name_of=family.file_name,
    )
    for p in adapter.trainables.values():
        p.data = p.data.to(getattr(torch, recipe.training.trainable_dtype))
    batches = Batches(
        recipe,
        dataset,
        family,
        latents=None,
        texts=None,
        trains_text=any(map(is_encoder, adapter.modules)),
        rank=accelerator.process_index,
    )
    require_fit(recipe, family, dataset, trains_text=batches.trains_text)
    caches: dict[str, Any] = {"accelerator": accelerator, "home": home or store.cache_home()}
    with family.using("codec"):
        batches.latents = yield from cache_latents(recipe, dataset, family, **caches)
        batches.masked = yield from cache_masked(batches.fills, family, **caches)
    with family.using("text_encoder"):
        fixed = yield from _encode_texts(batches, train, held_out, **caches)
    give_back()
    loader = _loader(recipe, dataset, train, accelerator)
    return _trainer(recipe, accelerator, family, loader, batches, adapter, (train, held_out), fixed)


def _encode_texts(
    batches: Batches, train: list[int], held_out: list[int], **caches: Any
) -> Generator[Preparing, None, FixedInputs]:
    """Encode all that the run will say to the model, while the text encoder is in memory."""
    recipe, dataset, family = batches.recipe, batches.dataset, batches.family
    live = why_live(recipe, is_drawn=dataset.is_drawn, trains_text=batches.trains_text)
    texts = () if live else dataset.texts(train, seed=recipe.training.seed)
    if texts:
        if "text_encoder" in family.frees:  # what validation reads, while it can be encoded
            texts = (*texts, *map(batches.plain_caption, (*train, *held_out)))
        texts = (*texts, *uncalled_texts(recipe, dataset, texts))
        batches.texts = yield from cache_texts(texts, family, **caches)
    batches.said = said_of_texts(recipe.data.captions, num_texts=len(texts), live=live)
    subset = recipe.data.subsets[0]
    prompts = filled_prompts(recipe.sampling, subset.trigger, subset.class_word)
    return FixedInputs.freeze(family, prompts, sampling=recipe.sampling)


def _loader(
    recipe: Recipe, dataset: data.Dataset, train: list[int], accelerator: "Accelerator"
) -> Loader:
    """Which pictures each step of this process sees."""
    return Loader(
        dataset,
        train,
        batch_size=recipe.training.batch_size,
        accumulation=recipe.training.accumulation,
        seed=recipe.training.seed,
        rank=accelerator.process_index,
        num_ranks=accelerator.num_processes,
    )


def _trainer(
    recipe: Recipe,
    accelerator: "Accelerator",
    family: Family,
    loader: Loader,
    batches: Batches,
    adapter: AttachedAdapter,
    split: tuple[list[int], list[int]],
    fixed: FixedInputs,
) -> Trainer:
    """Optimizer, schedule and moving average over an attached adapter."""
    dataset, (train, held_out) = batches.dataset, split
    for module in adapter.modules.values():  # a denoiser may have waited on the CPU for its place
        module.to(family.device)
    total_steps = recipe.length.total_steps(loader.steps_per_epoch)
    _require_schedule(recipe, total_steps)
    groups = recipe.optimizer.groups(adapter.groups(), adapter.rate_factors)
    narrow = recipe.training.trainable_dtype == "bfloat16" and recipe.training.stochastic_rounding
    stand_ins = StandIns(groups) if narrow else None
    optimizer = recipe.optimizer.build(stand_ins.groups if stand_ins else groups)
    schedule = recipe.schedule.build(optimizer, total_steps or 1_000_000)
    drops = getattr(recipe.adapter, "module_dropout", 0.0) > 0
    handler = accelerator.ddp_handler
    assert handler is not None
    handler.find_unused_parameters = drops or not family.idle.isdisjoint(adapter.modules)
    model, prepared = accelerator.prepare(Denoiser(family, adapter.modules), optimizer)
    return Trainer(
        recipe=recipe,
        accelerator=accelerator,
        family=family,
        dataset=dataset,
        loader=loader,
        batches=batches,
        adapter=adapter,
        model=model,
        optimizer=prepared,
        schedule=schedule,
        ema=recipe.ema.build(adapter.trainables) if recipe.ema else None,
        stable_loss=StableLoss(
            recipe.validation,
            train=[record for record in train if record not in dataset.priors] or train,
            held_out=held_out,
            process=family.process,
            seed=recipe.training.seed,
        ),
        fixed=fixed,
        total_steps=total_steps,
        train_records=train,
        held_out=held_out,
        stand_ins=stand_ins,
    )


def _require_schedule(recipe: Recipe, total_steps: int | None) -> None:
    """Refuse a schedule that has no end to fall to, or an optimizer that wants none."""
    if total_steps is None and recipe.schedule.kind != "constant":
        raise SettingsError(
            f"schedule.kind = {recipe.schedule.kind!r} must know the run's end, and length gives "
            "only minutes; give length.steps too, or schedule.kind = 'constant'"
        )
    if total_steps is None and 0 < recipe.schedule.warmup < 1:
        raise SettingsError(
            f"schedule.warmup = {recipe.schedule.warmup:g} is a share of the run's steps, and "
            "length gives only minutes; give whole steps, such as schedule.warmup = 100"
        )
    if recipe.optimizer.own_schedule and recipe.schedule.kind != "constant":
        raise SettingsError(
            f"schedule.kind must be 'constant' for optimizer.kind = {recipe.optimizer.kind!r}, "
            f"which averages in place of lowering the rate, got {recipe.schedule.kind!r}"
        )
