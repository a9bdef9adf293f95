"""A recipe that trains a tiny base on a handful of small pictures in a second."""

import json
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw

from workbench.data.loader import Step
from workbench.recipe import Recipe
from workbench.training import step as stepping
from workbench.training.trainer import Trainer, assemble

SIZES = ((90, 70), (70, 90), (64, 64), (128, 96), (96, 128), (64, 64), (100, 100))


def write_photos(folder: Path, count: int = 7) -> Path:
    """Pictures of several sizes with tag captions."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        width, height = SIZES[index % len(SIZES)]
        image = Image.new("RGB", (width, height), (36 * index % 256, 120, 200 - 20 * index % 200))
        ImageDraw.Draw(image).ellipse((8 + index, 8, 40, 44), fill=(250, 40 * index % 256, 9))
        image.save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"photo, disc, number {index}, red, evening")
    return folder


def tiny_recipe(base: Path, photos: Path, out: Path, *overrides: str) -> Recipe:
    """Few steps, several buckets, nothing left to chance."""
    data = {
        "name": "tiny",
        "base": {"path": str(base)},
        "data": {
            "subsets": [{"path": str(photos), "trigger": "zib"}],
            "buckets": {"resolution": 64, "step": 16},
        },
        "adapter": {"kind": "lora", "rank": 4, "alpha": 2.0, "groups": ["attention"]},
        "length": {"steps": 4},
        "sampling": {"every_steps": 0},
        "training": {"batch_size": 2, "checkpoint_every": 2},
        "optimizer": {"kind": "adamw", "learning_rate": 0.01},
        "validation": {"num_images": 2, "num_bins": 2, "draws": 1},
        "output": {"folder": str(out), "dtype": "float32"},
    }
    recipe = Recipe.model_validate(data)
    return recipe.override([x if isinstance(x, str) else json.dumps(x) for x in overrides])


def assembled(recipe: Recipe) -> Trainer:
    """All that a step needs, without the events on the way."""
    generator = assemble(recipe, folder=Path(recipe.output.folder))
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def steps(trainer: Trainer, start: int = 0) -> Iterator[tuple[Step, stepping.StepResult]]:
    """Train step by step, without the events of a run."""
    for step in trainer.loader.steps(start):
        yield step, stepping.train_step(trainer, step)
