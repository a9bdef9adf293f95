"""Makes `before/`: a run that an earlier commit began, which `test_before.py` goes on with.

Run once on commit 10a67bd, from the root of its checkout, with one thread:

    OMP_NUM_THREADS=1 PYTHONPATH=.:tests python make_before.py FOLDER

FOLDER/run is stopped after step 3 of 6, FOLDER/twin.safetensors is the LoRA file of a run that was
not. Paths of the base and the pictures begin with /inputs; the test puts its own there.
"""

import sys
import tempfile
from pathlib import Path

import torch
from tiny_models import build_sd
from tiny_recipes import tiny_recipe, write_photos

from workbench import store
from workbench.recipe import Recipe
from workbench.training.run import Run

SETTINGS = (
    "adapter.rank=2",
    "length.steps=6",
    "training.checkpoint_every=3",
    "schedule.kind=cosine",
    "ema.decay=0.9",
    "data.captions.shuffle=true",
    "data.captions.tag_dropout=0.3",
    "sampling.prompts=[]",
    "output.report=false",
)
STOPPED_AFTER = 3


def train(recipe: Recipe, folder: Path, *, stop_after: int | None = None) -> Run:
    """Train to the end, or end after a step with a checkpoint."""
    run = Run(recipe, folder)
    for event in run.train():
        if event.event == "progress" and event.step == stop_after:
            run.stop("terminated")
    return run


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name).resolve()
        base, photos = build_sd(inputs / "base"), write_photos(inputs / "photos")
        recipe = tiny_recipe(base, photos, inputs / "runs", *SETTINGS)
        twin = train(recipe, inputs / "twin")
        kernels = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
        tensors = store.load_tensors(twin.final_lora)
        store.save_tensors(folder / "twin.safetensors", tensors, kernels)
        train(recipe, folder / "run", stop_after=STOPPED_AFTER)
        for file in (folder / "run" / "recipe.toml", folder / "run" / "events.jsonl"):
            file.write_text(file.read_text().replace(inputs.as_posix(), "/inputs"))


if __name__ == "__main__":
    main()
