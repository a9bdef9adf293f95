"""What a LoRA file says of the run that made it, in the names that readers know."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from workbench.adapters.metadata import metadata
from workbench.adapters.naming import is_encoder
from workbench.data.subsets import Subset
from workbench.diffusion.losses import Huber, SmoothL1
from workbench.diffusion.weighting import MinSNR
from workbench.models.clip import WINDOW
from workbench.recipe import Recipe
from workbench.training.trainer import Trainer


def describe(trainer: Trainer, step: int) -> dict[str, str]:
    """The metadata that user interfaces read from a LoRA file.

    Args:
        trainer: what was trained.
        step: optimizer steps done.
    Returns:
        Header fields, all strings.
    """
    recipe = trainer.recipe
    version, architecture = trainer.family.version
    known = trainer.family.identity["hashes"]
    names = {"legacy": "sd_model_hash", "sha256": "new_sd_model_hash"}  # of a single file
    side = recipe.data.buckets.resolution
    return metadata(
        output_name=recipe.name,
        base_version=version,
        architecture=architecture,
        base_name=Path(recipe.base.path).name,
        resolution=(side, side),
        prediction=trainer.family.process.prediction,
        base_hashes={names[k]: v for k, v in known.items() if k in names},
        training=_training(trainer, step),
        tags=_tags(trainer),
        buckets=_buckets(trainer),
        trigger=recipe.data.subsets[0].trigger,
    ) | {
        "workbench.recipe": recipe.to_toml(comments=False),
        "workbench.changes": json.dumps(trainer.changes, ensure_ascii=False),
    }


def _training(trainer: Trainer, step: int) -> dict[str, Any]:
    """What was trained and how, by sd-scripts' names; what did not take part is left out."""
    recipe, steps_per_epoch = trainer.recipe, trainer.loader.steps_per_epoch
    learning = {part for part in trainer.family.parts if _learns(trainer, part)}
    encoders = sorted(part for part in learning if is_encoder(part))
    denoiser = next(iter(trainer.family.parts))
    priors = [record for record in _records(trainer) if _subset(trainer, record).is_prior]
    return {
        "seed": recipe.training.seed,
        "steps": step,
        "max_train_steps": trainer.total_steps,
        "epoch": step // steps_per_epoch,
        "num_epochs": -(-trainer.total_steps // steps_per_epoch) if trainer.total_steps else None,
        "num_train_images": len(trainer.train_records) - len(priors),
        "num_reg_images": len(priors),
        "prior_loss_weight": _subset(trainer, priors[0]).loss_weight if priors else None,
        "batch_size_per_device": recipe.training.batch_size,
        "gradient_accumulation_steps": recipe.training.accumulation,
        "gradient_checkpointing": recipe.base.gradient_checkpointing,
        "max_grad_norm": recipe.training.gradient_clip,
        "max_token_length": _token_length(recipe),
        "clip_skip": recipe.base.clip_skip + 1 if recipe.base.clip_skip else None,
        "learning_rate": recipe.optimizer.learning_rate,
        "unet_lr": recipe.optimizer.rate("unet") if denoiser in learning else None,
        "text_encoder_lr": recipe.optimizer.rate("text_encoder") if encoders else None,
        "optimizer": recipe.optimizer.kind,
        "lr_scheduler": recipe.schedule.kind,
        "lr_warmup_steps": recipe.schedule.warmup_steps(trainer.total_steps or 1_000_000),
        "mixed_precision": recipe.training.precision,
        "zero_terminal_snr": trainer.family.process.ends_in_noise,
        **_losses(recipe),
        **_captions(recipe),
        **recipe.noise.metadata(),
    }


def _learns(trainer: Trainer, part: str) -> bool:
    return any(name.startswith(f"{part}.") for name in trainer.trainables)


def _losses(recipe: Recipe) -> dict[str, Any]:
    """Loss and weighting in sd-scripts' words."""
    loss, weighting = recipe.loss, recipe.weighting
    found: dict[str, Any] = {"loss_type": loss.kind}
    if isinstance(loss, Huber | SmoothL1):
        found |= {"huber_c": loss.threshold, "huber_schedule": loss.schedule.kind}
    if isinstance(weighting, MinSNR):
        found["min_snr_gamma"] = weighting.gamma
    return found | {"debiased_estimation": weighting.kind == "debiased"}


def _captions(recipe: Recipe) -> dict[str, Any]:
    """How captions and pictures vary, in sd-scripts' words."""
    captions, augment = recipe.data.captions, recipe.data.augment
    return {
        "shuffle_caption": captions.shuffle,
        "keep_tokens": captions.keep_tokens,
        "caption_dropout_rate": captions.caption_dropout,
        "caption_tag_dropout_rate": captions.tag_dropout,
        "caption_dropout_every_n_epochs": captions.caption_dropout_every_epochs,
        "flip_aug": augment.flip > 0,
    }


def _records(trainer: Trainer) -> list[int]:
    """The records trained on; none of a world that is drawn without end."""
    return [] if trainer.dataset.is_drawn else trainer.train_records


def _subset(trainer: Trainer, record: int) -> Subset:
    return trainer.recipe.data.subsets[trainer.dataset.records[record].subset]


def _token_length(recipe: Recipe) -> int | None:
    """sd-scripts' max_token_length, which is left out where captions have one window."""
    length = recipe.data.captions.max_tokens
    return length if length > WINDOW else None


def _tags(trainer: Trainer) -> dict[str, dict[str, int]]:
    """Tag counts by subset; a world that is drawn without end has no table."""
    if trainer.dataset.is_drawn:
        return {}
    separator = trainer.recipe.data.captions.separator.strip()
    tables: dict[str, Counter[str]] = {}
    for index in trainer.train_records:
        record = trainer.dataset.records[index]
        name = Path(trainer.recipe.data.subsets[record.subset].path).name
        tags = trainer.dataset.plain_caption(index).split(separator)
        tables.setdefault(name, Counter()).update(tag.strip() for tag in tags if tag.strip())
    return {name: dict(table) for name, table in tables.items()}


def _buckets(trainer: Trainer) -> dict[tuple[int, int], int]:
    if trainer.dataset.is_drawn:
        return {}
    placements = trainer.dataset.placements
    return dict(Counter(placements[index].bucket for index in trainer.train_records))
