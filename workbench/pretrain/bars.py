"""What the base and a LoRA of it come to, and pictures to look at."""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from workbench.critters import BASE
from workbench.critters.attributes import MOUTHS, SCENES, caption
from workbench.critters.concepts import concept
from workbench.critters.judge import load_judge
from workbench.critters.measure import (
    Bar,
    character_share,
    generate,
    load_pipeline,
    measure,
    short_prompt,
    shuffled,
    unseen,
    unseen_pictures,
)
from workbench.recipe import Recipe
from workbench.records.events import Progress
from workbench.training.run import Run

SEEDS = (0, 1, 2)
# No pictures, validation or checkpoint on the way: what is timed is training.
_QUIET = [
    "output.report=false",
    "sampling.every_steps=0",
    "training.checkpoint_every=100000",
    "validation.every_steps=100000",
]


def character_bars(folder: Path, *, seed: int, count: int = 32) -> list[Bar]:
    """Train the preset's LoRA of the character, and count where it shows.

    Args:
        folder: gets the run.
        seed: of the run: its first weights, order, noise and timesteps.
        count: number of pictures with the trigger, and as many without.
    Returns:
        Seconds from its first step to its last, and in how many pictures the judge sees the
        character with and without the trigger in the prompt.
    """
    recipe = Recipe.preset("critters").override([*_QUIET, f"training.seed={seed}"])
    run = Run(recipe, folder)
    at_s = [time.monotonic() for event in run.train() if isinstance(event, Progress)]
    pipeline = load_pipeline(BASE)
    pipeline.load_lora_weights(str(run.final_lora.parent), weight_name=run.final_lora.name)
    with_trigger, without = character_prompts(count)
    judge = load_judge()
    shown, leaked = (
        character_share(judge, list(generate(pipeline, prompts)))
        for prompts in (with_trigger, without)
    )
    name = f"LoRA of the character, seed {seed}"
    return [
        Bar(f"{name}: training", at_s[-1] - at_s[0], 30, at_most=True, unit="s"),
        Bar(f"{name}: seen with trigger", shown, 90),
        Bar(f"{name}: seen without it", leaked, 5, at_most=True),
    ]


def character_prompts(count: int) -> tuple[list[str], list[str]]:
    """Say what is asked of a LoRA of the character, in scenes that it was not trained on.

    Args:
        count: how many of each kind.
    Returns:
        Prompts with the trigger, and captions of ordinary critters without it.
    """
    trigger, seen = concept("character").trigger, unseen(count)
    asked = [(MOUTHS[a.mouth], SCENES[a.scene], f"{a.background} background") for a in seen]
    with_trigger = [", ".join((trigger, "critter", *tags)) for tags in asked]
    return with_trigger, [caption(attributes) for attributes in seen]


def every_bar() -> Iterator[Bar]:
    """Mark the base, and what can be taught to it.

    Yields:
        Bars as they are measured.
    """
    yield from measure()
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            yield from character_bars(Path(folder) / "character", seed=seed)


def contact_sheet(base: Path = BASE, *, columns: int = 8) -> Image.Image:
    """Paint what a table cannot say: whole captions above their drawings, few tags, none.

    Args:
        base: diffusers folder.
        columns: pictures in a row.
    Returns:
        Seven rows: generated and drawn for two rows of whole captions, the same captions in another
        order, three to five tags, no prompt.
    """
    rng, wanted, pipeline = random.Random("prompts"), unseen(2 * columns), load_pipeline(base)
    captions = [caption(each) for each in wanted]
    whole, drawn = list(generate(pipeline, captions)), unseen_pictures(2 * columns)
    order = [shuffled(text, rng) for text in captions[:columns]]
    short = [short_prompt(each, rng)[0] for each in wanted[:columns]]
    rows = [whole[:columns], drawn[:columns], whole[columns:], drawn[columns:]]
    rows += [list(generate(pipeline, prompts)) for prompts in (order, short, [""] * columns)]
    sheet = Image.new("RGB", (columns * 132 - 4, len(rows) * 132 - 4), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (132 * column, 132 * row))
    return sheet
