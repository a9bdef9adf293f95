"""What a U-Net from nothing will take, computed before a weight is loaded or a base is fetched.

Sizes follow from the structure on the device "meta", an optimizer's state is weighed on a small
matrix, activations and operations are counted in a pass that computes nothing. Only the speed of
matrix products is measured, on this machine. `check --measure` measures all of it, where it can.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from workbench import settings, store
from workbench.adapters import Full
from workbench.layouts.unet import original_path
from workbench.models.outline import Outline, outline
from workbench.models.passes import count_pass
from workbench.optim.ema import EMASettings
from workbench.optim.footprint import state_bytes_per_weight
from workbench.optim.rounding import PIECE
from workbench.recipe import Recipe
from workbench.settings import SettingsError

__all__ = ["Block", "Memory", "Plan", "Stage", "matrix_rate", "plan"]

USUAL = ("lion8bit", "lion", "adamw8bit", "adamw")  # optimizers that are compared
_LARGEST_BATCH = 4096  # of the setting
_COUNTED = 8  # pictures in the pass that is counted; what a pass takes once is then an eighth


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the U-Net, such as "down_blocks.1".

    Attributes:
        name: as diffusers names it.
        original: how names of its weights begin in single files.
        num_tensors: weights and biases.
        num_weights: numbers in them.
    """

    name: str
    original: str
    num_tensors: int
    num_weights: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What a device holds in training, activations left aside; bytes.

    Attributes:
        optimizer: its kind.
        weights: that learn.
        gradients: of them.
        state: of the optimizer.
        average: moving average of the weights.
        frozen: parts that do not learn.
        update: for a moment, while the weights are moved and no activation is kept.
    """

    optimizer: str
    weights: int
    gradients: int
    state: int
    average: int
    frozen: int
    update: int

    @property
    def held(self) -> int:
        """All but what lasts a moment."""
        return self.weights + self.gradients + self.state + self.average + self.frozen


@dataclass(frozen=True, slots=True)
class Stage:
    """Training at one size of pictures.

    Attributes:
        side_px: of square pictures.
        flop: operations of one picture's way forward and back, as the recipe has it.
        activations: bytes of one picture, by whether they are recomputed (gradient checkpointing).
    """

    side_px: int
    flop: int
    activations: Mapping[bool, int]

    def batch(self, memory: Memory, room: float, *, recomputing: bool) -> int:
        """The largest batch that fits.

        Args:
            memory: what is held beside activations.
            room: bytes of the device that may be filled.
            recomputing: gradient checkpointing.
        Returns:
            Pictures; 0 where not even one fits.
        """
        if memory.held + memory.update > room:
            return 0
        fitting = int((room - memory.held) / self.activations[recomputing])
        return min(fitting, _LARGEST_BATCH)


@dataclass(frozen=True)
class Plan:
    """What a recipe will take.

    Attributes:
        recipe: what was looked at.
        outline: the base without weights.
        blocks: of the U-Net, in its own order.
        memory: with the recipe's optimizer, then with the usual ones.
        other_average: with the recipe's optimizer, and the moving average where it has none, or
            without the one it has.
        stages: the recipe's own size, and twice it until the base's.
        checkpoint_bytes: size of one checkpoint.
        final_bytes: of what is saved at the end.
        free_bytes: space on the disk of the run folder.
    """

    recipe: Recipe
    outline: Outline
    blocks: tuple[Block, ...]
    memory: tuple[Memory, ...]
    other_average: Memory
    stages: tuple[Stage, ...]
    checkpoint_bytes: int
    final_bytes: int
    free_bytes: int

    @property
    def num_weights(self) -> int:
        """Numbers in the U-Net."""
        return sum(block.num_weights for block in self.blocks)

    @property
    def num_tensors(self) -> int:
        """Names in the U-Net's file."""
        return sum(block.num_tensors for block in self.blocks)

    @property
    def pictures(self) -> int | None:
        """Pictures of the whole run; None where its length is not given in steps."""
        steps, training = self.recipe.length.steps, self.recipe.training
        return None if steps is None else steps * training.batch_size * training.accumulation

    @property
    def main_memory_bytes(self) -> int:
        """Beside a GPU: the first weights are drawn in float32, a checkpoint is gathered there."""
        drawn, adapter = 4 * self.num_weights, self.recipe.adapter
        kept = 0
        if isinstance(adapter, Full) and adapter.keep_start:
            kept = self.num_weights * _itemsize(self.recipe.base.dtype)
        return kept + max(drawn, self.checkpoint_bytes)

    @property
    def disk_bytes(self) -> int:
        """Most that lies on the disk: the checkpoints that stay, one being written, the result."""
        kept = self.recipe.training.keep_checkpoints + 1
        return kept * self.checkpoint_bytes + self.final_bytes


def plan(recipe: Recipe) -> Plan | None:
    """Compute what a U-Net from nothing will take.

    Args:
        recipe: what is to run.
    Returns:
        The figures; None for a recipe that starts from trained weights or trains an adapter, and
        where nothing tells the base's structure.
    Raises:
        SettingsError, FileRefused: the base is here and cannot be used, or its config does not fit.
    """
    if recipe.base.from_scratch is None or not isinstance(recipe.adapter, Full):
        return None
    base = outline(recipe.base)
    if base is None:
        return None
    own, average = _memory(recipe, base), EMASettings() if recipe.ema is None else None
    single = recipe.adapter.layout == "single_file"
    saved = base.parts if single else recipe.adapter.parts(_trainable(base))
    return Plan(
        recipe,
        base,
        _blocks(base),
        (own, *_usual(recipe, base)),
        _memory(settings.replace(recipe, ema=average), base),
        _stages(recipe, base),
        checkpoint_bytes=own.weights + own.state + own.average,
        final_bytes=sum(_count(base, part) for part in saved) * _itemsize(recipe.output.dtype),
        free_bytes=store.free_bytes(recipe.output.folder),
    )


def matrix_rate(precision: str) -> float:
    """Measure how fast this machine multiplies matrices; takes a third of a second.

    Args:
        precision: of the numbers: "float32", "bfloat16" or "float16".
    Returns:
        Floating-point operations a second, the best of several tries.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 8192 if device == "cuda" else 1024
    one = torch.ones(side, side, dtype=getattr(torch, precision), device=device)
    best, until = float("inf"), time.perf_counter() + 0.3
    while time.perf_counter() < until:
        before = time.perf_counter()
        torch.mm(one, one)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
    return 2 * side**3 / best


def _itemsize(dtype: str) -> int:
    return getattr(torch, dtype).itemsize


def _count(base: Outline, part: str) -> int:
    return sum(weight.numel() for weight in base.parts[part].parameters())


def _trainable(base: Outline) -> list[str]:
    """Names of the parts that an adapter may touch."""
    return [part for part in base.parts if part != "vae"]


def _memory(recipe: Recipe, base: Outline) -> Memory:
    """What is held with a recipe's own optimizer and moving average.

    Raises:
        SettingsError: the optimizer's package is not installed.
    """
    adapter, training, optimizer = recipe.adapter, recipe.training, recipe.optimizer
    assert isinstance(adapter, Full)
    learning = adapter.parts(_trainable(base))
    frozen = [part for part in base.parts if part not in learning]
    num_weights = sum(_count(base, part) for part in learning)
    narrow = training.trainable_dtype == "bfloat16" and training.stochastic_rounding
    own = getattr(torch, training.trainable_dtype)
    state = state_bytes_per_weight(optimizer, torch.float32 if narrow else own)
    weights = num_weights * own.itemsize
    if narrow:  # widened to float32 with their gradients, in pieces where the optimizer allows it
        update = 8 * (min(PIECE, num_weights) if optimizer.apart else num_weights)
    else:  # one more list of tensors; bitsandbytes changes them in place
        update = 0 if optimizer.package == "bitsandbytes" else weights
    precisions = {"vae": recipe.base.vae_dtype}
    return Memory(
        optimizer=getattr(optimizer, "kind"),  # noqa: B009
        weights=weights,
        gradients=weights,
        state=round(num_weights * state),
        average=0 if recipe.ema is None else 4 * num_weights,
        frozen=sum(
            _count(base, part) * _itemsize(precisions.get(part, recipe.base.dtype))
            for part in frozen
        ),
        update=update,
    )


def _usual(recipe: Recipe, base: Outline) -> Iterator[Memory]:
    """The same with the usual optimizers, those that are not installed left out."""
    for kind in USUAL:
        if kind != recipe.optimizer.kind:
            with suppress(SettingsError):
                yield _memory(recipe.override([f"optimizer.kind={kind}"]), base)


def _blocks(base: Outline) -> tuple[Block, ...]:
    """The U-Net in pieces of one or two words."""
    unet, found = base.parts["unet"], {}
    for name, weight in unet.named_parameters():
        first, second, *_ = name.split(".")
        found.setdefault(f"{first}.{second}" if second.isdigit() else first, []).append(
            (name.rpartition(".")[0], weight.numel())
        )
    return tuple(
        Block(
            name, original_path(pieces[0][0], unet.config), len(pieces), sum(n for _, n in pieces)
        )
        for name, pieces in found.items()
    )


def _stages(recipe: Recipe, base: Outline) -> tuple[Stage, ...]:
    """Pictures of the recipe's size, then twice as wide, until those that the base is made for."""
    unet = base.parts["unet"].to(getattr(torch, recipe.training.trainable_dtype))
    if recipe.base.attention == "eager":
        from diffusers.models.attention_processor import AttnProcessor

        unet.set_attn_processor(AttnProcessor())
    sides = [recipe.data.buckets.resolution]
    while 2 * sides[-1] <= base.native_px:
        sides.append(2 * sides[-1])
    return tuple(_stage(recipe, base, unet, side) for side in sides)


def _stage(recipe: Recipe, base: Outline, unet: Any, side_px: int) -> Stage:
    side = max(1, round(side_px / base.latent_px))
    passes = {
        recomputing: count_pass(
            unet,
            (_COUNTED, unet.config["in_channels"], side, side),
            num_tokens=2 + recipe.data.captions.max_tokens,
            precision=getattr(torch, recipe.training.precision),
            recomputing=recomputing,
        )
        for recomputing in (True, False)
    }
    return Stage(
        side_px,
        flop=passes[recipe.base.gradient_checkpointing].flop // _COUNTED,
        activations={which: one.activation_bytes // _COUNTED for which, one in passes.items()},
    )
