"""`check` of a U-Net from nothing: what it will take, computed before anything is loaded."""

from typing import TYPE_CHECKING

from workbench.commands.preflight import ROOM
from workbench.commands.terminal import byte_size, duration, say, table

if TYPE_CHECKING:
    from workbench.recipe import Recipe
    from workbench.training.plan import Memory, Plan

CARDS_GB = (24, 48, 80)  # memory of usual GPUs, counted in GiB as their makers do


def show_plan(recipe: "Recipe") -> None:
    """Print what a recipe that starts from nothing will take; nothing for any other.

    Args:
        recipe: what is to run.
    Raises:
        SettingsError, FileRefused: its base is here and cannot be used.
    """
    if recipe.base.from_scratch is None:
        return
    from workbench.commands.terminal import console
    from workbench.training.plan import plan

    with console.status("counting what it will take"):
        found = plan(recipe)
    if found is None:
        _say_why_not(recipe)
        return
    _say_base(found)
    _say_names(found)
    _say_memory(found)
    _say_stages(found)
    _say_time(found)
    _say_disk(found)


def _say_why_not(recipe: "Recipe") -> None:
    if recipe.adapter.kind != "full":
        say(
            f'base.from_scratch goes with adapter.kind = "full", got "{recipe.adapter.kind}": what '
            "it will take is computed for weights that all learn",
            style="yellow",
        )
        return
    say(
        f"{recipe.base.path} cannot be found, and its name does not tell its structure: what it "
        "will take is computed once base.family says it (sd or sdxl), or once it is here",
        style="yellow",
    )


def _say_base(found: "Plan") -> None:
    path, title = found.recipe.base.path, found.outline.title
    say()
    say(f"From nothing: the U-Net of {title}, computed from its structure; no weight was loaded.")
    if not found.outline.is_here:
        say(
            f"{path} cannot be found on this machine. Its name says {title}, whose structure is "
            "known; its text encoders and autoencoder must be here before it trains (`workbench "
            "train` fetches a model of the Hub).",
            style="yellow",
        )


def _say_names(found: "Plan") -> None:
    say(f"{found.num_weights:,} weights under {found.num_tensors:,} names:")
    table(
        ("in diffusers", "in a single file, from", "names", "weights"),
        [
            (
                block.name,
                f"model.diffusion_model.{block.original}",
                f"{block.num_tensors:,}",
                f"{block.num_weights:,}",
            )
            for block in found.blocks
        ],
    )


def _say_memory(found: "Plan") -> None:
    first, recomputing = found.stages[0], found.recipe.base.gradient_checkpointing
    say("Memory of the GPU, and the largest batch at " + _size(first.side_px) + ":")

    def row(memory: "Memory", name: str) -> tuple[str, ...]:
        parts = (memory.weights, memory.gradients, memory.state, memory.average, memory.frozen)
        sizes = [byte_size(part) if part else "none" for part in parts]
        fits = (first.batch(memory, _room(card), recomputing=recomputing) for card in CARDS_GB)
        return (name, *sizes, byte_size(memory.held), *map(_batch, fits))

    own = found.memory[0]
    toggled = "without ema" if own.average else "with ema"
    table(
        (
            *("optimizer", "weights", "gradients", "its state", "ema", "frozen parts", "together"),
            *(f"{card} GB" for card in CARDS_GB),
        ),
        [
            row(own, f"{own.optimizer} (this recipe)"),
            row(found.other_average, f"{own.optimizer} {toggled}"),
            *(row(memory, memory.optimizer) for memory in found.memory[1:]),
        ],
    )
    say(
        f"Frozen parts are the text encoders and the autoencoder. {byte_size(own.update)} more is "
        f"taken for a moment while the weights move; {ROOM:.0%} of a GPU is filled at most."
    )
    say(f"Main memory beside a GPU: {byte_size(found.main_memory_bytes)}.")


def _say_stages(found: "Plan") -> None:
    recipe, own = found.recipe, found.memory[0]
    kept = recipe.base.gradient_checkpointing
    say("Stages; a picture's activations, and the largest batch with this recipe:")
    table(
        (
            *("pictures", "TFLOP each", "recomputed", "kept"),
            *(f"{card} GB" for card in CARDS_GB),
        ),
        [
            (
                _size(stage.side_px),
                f"{stage.flop / 1e12:.3g}",
                byte_size(stage.activations[True]),
                byte_size(stage.activations[False]),
                *(_batch(stage.batch(own, _room(card), recomputing=kept)) for card in CARDS_GB),
            )
            for stage in found.stages
        ],
    )
    say(
        "Recomputed: with base.gradient_checkpointing, "
        f"which is {'on' if kept else 'off'} here and asked in the last columns. Counted as a GPU "
        "computes: norms in float32, attention without its table; the allocator adds some."
    )


def _say_time(found: "Plan") -> None:
    from workbench.training.plan import matrix_rate

    precision, first = found.recipe.training.precision, found.stages[0]
    rate = matrix_rate(precision)
    thousand = ", ".join(
        f"{duration(1000 * stage.flop / rate)} at {stage.side_px} px" for stage in found.stages
    )
    say(
        f"Time at {rate / 1e12:.3g} TFLOP/s, which this machine reaches in plain {precision} "
        "matrix products (a U-Net reaches a part of that, so it takes longer): a thousand pictures "
        f"{thousand}."
    )
    if (pictures := found.pictures) is not None:
        say(
            f"The whole run: {pictures:,} pictures at {first.side_px} px, at least "
            f"{duration(pictures * first.flop / rate)}."
        )


def _say_disk(found: "Plan") -> None:
    kept, one = found.recipe.training.keep_checkpoints, byte_size(found.checkpoint_bytes)
    short = found.disk_bytes > found.free_bytes
    say(
        f"Disk: {byte_size(found.disk_bytes)}, {byte_size(found.free_bytes)} free: {kept} "
        f"checkpoints of {one} that stay, one that is being written, "
        f"{byte_size(found.final_bytes)} for the result.",
        style="bold red" if short else None,
    )


def _room(card_gb: int) -> float:
    return ROOM * card_gb * 2**30


def _batch(pictures: int) -> str:
    return "does not fit" if pictures == 0 else f"{pictures:,}"


def _size(side_px: int) -> str:
    return f"{side_px} x {side_px}"
