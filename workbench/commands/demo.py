"""`demo`: the whole journey on the embedded critters, each stage said as it happens."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.progress import EventView, StageBar, follow
from workbench.commands.terminal import duration, say

if TYPE_CHECKING:
    from workbench.recipe import Recipe

# What tests shorten: WORKBENCH_TINY=1.
TINY = ("length.steps=4", "sampling.steps=2", "sampling.seeds=[0]", "validation.num_images=2")


def demo(
    concept: Annotated[
        str, typer.Option(help="what to teach: character, style or place.")
    ] = "character",
    out: Annotated[Path, typer.Option(help="folder for images and run.")] = Path("demo"),
    base: Annotated[
        str,
        typer.Option(help="critters, or critters-inpainting, which fills in parts of pictures."),
    ] = "critters",
) -> None:
    """Teach an embedded base model a concept, offline: images in, LoRA and A/B report out."""
    started = time.monotonic()
    say(f"A LoRA from start to end: {concept}", style="bold")
    say("Images and captions")
    images = _draw(concept, out / concept)
    import workbench as wb

    recipe = _recipe(concept, images, out, base)
    _show_data(recipe)
    say("Training, with samples and reload proof")
    run = wb.start(recipe)
    with StageBar() as bar:
        view = EventView(bar)
        code = follow(run, view)
    if code:
        raise typer.Exit(code)
    if view.verdict:
        say(view.verdict, style="bold")
    say(f"All of it took {duration(time.monotonic() - started)}. LoRA, then report:")
    say(str(run.final_lora))
    say(str(run.folder / (view.report or "")))


def _draw(concept: str, folder: Path) -> Path:
    from workbench.critters.concepts import write_concept

    paths = write_concept(concept, folder)
    say(f"  {len(paths)} images drawn into {folder}")
    return folder


def _recipe(concept: str, images: Path, out: Path, base: str) -> "Recipe":
    import json

    import workbench as wb
    from workbench.base_change import with_base
    from workbench.critters.concepts import CONCEPTS
    from workbench.critters.masked import without_surroundings
    from workbench.models.source import BUILT_IN
    from workbench.settings import SettingsError

    if base not in BUILT_IN:
        raise SettingsError(
            f"--base must be one that ships ({', '.join(BUILT_IN)}), got {base!r}; for another one "
            "see `workbench new --help`"
        )
    chosen = CONCEPTS[concept]
    recipe, _ = with_base(wb.Recipe.preset("critters"), base)
    prompts = chosen.prompts
    if recipe.data.inpainting is not None:  # the surroundings are given
        prompts = tuple(map(without_surroundings, prompts))
    return recipe.override(
        [
            f"name={json.dumps(concept)}",
            f"data.subsets.0.path={json.dumps(str(images))}",
            f"data.subsets.0.trigger={json.dumps(chosen.trigger)}",
            f"data.subsets.0.description={json.dumps(chosen.description)}",
            f"output.folder={json.dumps(str(out / 'runs'))}",
            f"sampling.prompts={json.dumps(prompts)}",
            *(TINY if os.environ.get("WORKBENCH_TINY") == "1" else ()),
        ]
    )


def _show_data(recipe: "Recipe") -> None:
    """Show one caption as it lies on the disk and as the trainer draws it, and the buckets."""
    from workbench.data.dataset import index

    dataset = index(recipe.data)
    say(f"  on the disk:     {dataset.records[0].caption}")
    for repeat in range(2):
        drawn = dataset.caption(0, seed=recipe.training.seed, repeat=repeat)
        say(f"  trainer's draw:  {drawn}")
    say("Buckets")
    counts = Counter(placement.bucket for placement in dataset.placements)
    for (width, height), count in sorted(counts.items()):
        say(f"  {width} x {height}: {count} images")
    for aside in dataset.set_aside:
        say(f"  set aside: {aside.name}: {aside.reason}")
