"""What a run keeps to go on from, and the file that it is all for."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench import settings, store
from workbench.adapters.full import LEARNED, Full
from workbench.adapters.kohya import lazy_hashes
from workbench.recipe import Recipe
from workbench.records import checkpoint
from workbench.records.bundle import Bundle
from workbench.records.validation import Losses
from workbench.settings import SettingsError
from workbench.training.description import describe
from workbench.training.trainer import Trainer

# Changing these on a resume changes how a run is watched or how long it is, not what it computes.
_FREE = (
    "length.",
    "sampling.",
    "validation.every",
    "validation.watch",
    "validation.stop_on",
    "output.",
    "trackers",
    "checks.",
    "name",
)
_FREE_ADAPTER = ("adapter.layout",)
_FREE_TRAINING = (
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.lora_every",  # and lora_every_epochs
    "training.keep_loras",
)


def save_checkpoint(trainer: Trainer, folder: Path, step: int, *, seconds: float) -> Path:
    """Write all that a resume needs.

    Args:
        trainer: the state to keep.
        folder: the run folder.
        step: optimizer steps done.
        seconds: training time so far.
    Returns:
        The checkpoint's folder.
    Raises:
        DiskFull: no room; earlier checkpoints are intact.
    """
    base = trainer.stable_loss.base
    states: dict[str, Any] = {
        "adapter": trainer.adapter.state(copy=False),  # written before the next step
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": trainer.schedule.state_dict(),
        "cursor": {
            "step": step,
            "total_steps": trainer.total_steps,
            "seconds": seconds,
            "num_overflows": trainer.num_overflows,
            "dataset": trainer.dataset.fingerprint(),
            "base": trainer.family.identity["hashes"],
            "num_processes": trainer.accelerator.num_processes,
            "optimizer": trainer.recipe.optimizer.state_name,
        },
        "validation": {k: {"edges": v.edges, "values": v.values.tolist()} for k, v in base.items()},
    }
    if trainer.ema is not None:
        states["ema"] = trainer.ema.state(copy=False)
    elif trainer.averaging.active:  # what files are made from, to prove them by
        with trainer.averaging.shown():
            states["shown"] = trainer.adapter.state()
    if trainer.accelerator.scaler is not None:
        states["scaler"] = trainer.accelerator.scaler.state_dict()
    training = trainer.recipe.training
    return checkpoint.save(
        folder,
        step,
        Bundle.pack(states),
        recipe_hash=trainer.recipe.hash(),
        keep=training.keep_checkpoints,
    )


def restore(trainer: Trainer, loaded: checkpoint.Loaded) -> dict[str, Any]:
    """Put a checkpoint's state back.

    Args:
        trainer: assembled by the same recipe, at step 0.
        loaded: the checkpoint.
    Returns:
        The cursor: step, seconds, dataset, base.
    Raises:
        CheckpointRefused: a part is missing.
        SettingsError: the optimizer is of another kind, which cannot use the state.
    """
    states = loaded.bundle.unpack()
    needed = {"adapter", "optimizer", "schedule", "cursor"}
    needed |= {"ema"} if trainer.ema is not None else set()
    if missing := needed - states.keys():
        raise checkpoint.CheckpointRefused(
            f"{loaded.path}: {', '.join(sorted(missing))} is missing; the recipe asks for it, so "
            "the run cannot go on exactly; start a new run"
        )
    trainer.adapter.load(states["adapter"])
    _restore_optimizer(trainer, states)
    if trainer.ema is not None:
        trainer.ema.load(states["ema"])
    if trainer.accelerator.scaler is not None and "scaler" in states:
        trainer.accelerator.scaler.load_state_dict(states["scaler"])
    trainer.stable_loss.base = {
        split: Losses(tuple(x["edges"]), np.asarray(x["values"]))
        for split, x in states.get("validation", {}).items()
    }
    trainer.num_overflows = states["cursor"]["num_overflows"]
    return states["cursor"]


def _restore_optimizer(trainer: Trainer, states: dict[str, Any]) -> None:
    """Put optimizer and schedule back; of their settings, the recipe's hold.

    Both states bring the settings along that they were saved with, which would undo a change that
    the user accepted. The rate follows from the step, so that a schedule of another length is
    joined where it is.
    """
    name = trainer.recipe.optimizer.state_name
    if (saved := states["cursor"].get("optimizer", name)) != name:
        raise SettingsError(
            f"optimizer.kind = {name!r} cannot go on from the state of {saved!r}; undo the change, "
            "or start a new run"
        )
    optimizer, schedule = trainer.optimizer, trainer.schedule
    chosen = [trainer.recipe.optimizer.chosen(group) for group in optimizer.param_groups]
    rates = list(schedule.base_lrs)
    optimizer.load_state_dict(states["optimizer"])
    trainer.recipe.optimizer.loaded(optimizer.optimizer)
    schedule.load_state_dict(states["schedule"])
    schedule.base_lrs = rates
    for group, new, rate, factor in zip(
        optimizer.param_groups, chosen, rates, schedule.lr_lambdas, strict=True
    ):
        group.update(new, lr=rate * factor(schedule.last_epoch))


def save_lora(trainer: Trainer, path: Path, step: int) -> Path:
    """Write the LoRA file with the weights that samples show.

    Args:
        trainer: what was trained.
        path: the .safetensors file; a full fine-tune becomes a folder of that name, unless its
            layout is a single file.
        step: optimizer steps done.
    Returns:
        What was written.
    """
    settings, known = trainer.recipe.adapter, describe(trainer, step)
    dtype = getattr(torch, trainer.recipe.output.dtype)
    with trainer.showing():
        if isinstance(settings, Full) and settings.layout == "single_file":
            return _save_single_file(trainer, path, dtype, known)
        return trainer.adapter.save(
            path, name_of=trainer.family.file_name, dtype=dtype, metadata=known
        )


def _save_single_file(
    trainer: Trainer, path: Path, dtype: torch.dtype, metadata: dict[str, str]
) -> Path:
    """The whole model, of which the metadata say which parts learned."""
    single = trainer.family.single_file
    assert single is not None, "refused by `require_fit`"
    tensors = single.tensors(dtype)
    learned = {LEARNED: " ".join(trainer.adapter.modules), "format": "pt"}
    known = metadata | single.metadata | learned | lazy_hashes(tensors, path=path)
    return store.stream_tensors(path, tensors, known)


def prune_loras(newest: Path, *, name: str, keep: int | None) -> None:
    """Remove the oldest files that a run saved along its way.

    Args:
        newest: the file just written; a folder after a full fine-tune.
        name: of the run.
        keep: how many stay; None: all.
    """
    if keep is None:
        return
    along = re.compile(rf"{re.escape(name)}-step(\d+)(\.safetensors)?")
    matches = [(along.fullmatch(path.name), path) for path in newest.parent.iterdir()]
    found = sorted((int(match[1]), path) for match, path in matches if match)
    for _, path in found[:-keep]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def changes(old: Recipe, new: Recipe) -> list[str]:
    """What differs between two recipes and would change what a run computes.

    Args:
        old: the recipe so far.
        new: the recipe to go on with.
    Returns:
        Lines "key: old -> new"; empty when a resume computes the same.
    """
    free = _FREE + _FREE_ADAPTER + _FREE_TRAINING
    return [line for key, line in _differences(old, new).items() if not key.startswith(free)]


def all_changes(old: Recipe, new: Recipe) -> tuple[str, ...]:
    """What differs between two recipes, whatever it does.

    Args:
        old: the recipe so far.
        new: the recipe to go on with.
    Returns:
        Lines "key: old -> new".
    """
    return tuple(_differences(old, new).values())


def _differences(old: Recipe, new: Recipe) -> dict[str, str]:
    return {
        key: f"{key}: {'none' if before is None else repr(before)} -> "
        f"{'none' if after is None else repr(after)}"
        for key, (before, after) in settings.differences(old, new).items()
    }


def world_changes(trainer: Trainer, cursor: dict[str, Any]) -> list[str]:
    """What differs outside the recipe and would change what a run computes.

    Args:
        trainer: about to go on.
        cursor: what `restore` returned.
    Returns:
        Lines; empty when a resume computes the same.
    """
    lines = []
    if cursor["dataset"] != trainer.dataset.fingerprint():
        lines.append("the images or captions differ from those of the checkpoint")
    now = trainer.accelerator.num_processes
    if (then := cursor.get("num_processes", now)) != now:
        lines.append(f"processes that train together: {then} -> {now}")
    return lines


def refuse_changes(lines: list[str]) -> None:
    """Ask for confirmation before a resume that is none.

    Args:
        lines: what differs.
    Raises:
        SettingsError: anything differs.
    """
    if lines:
        shown = "\n  ".join(lines)
        raise SettingsError(
            f"the run would not go on as it began:\n  {shown}\n"
            "undo the change, or confirm it with --accept-changes (resume(..., accept=True))"
        )
