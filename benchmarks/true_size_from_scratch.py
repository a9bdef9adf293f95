"""One step of SDXL's U-Net from nothing, at true size: what it takes, and what it leaves.

    nice -n 10 python benchmarks/true_size_from_scratch.py [--folder DIR] [key=value ...]

The recipe is the preset `sdxl-unet-from-scratch` as it ships: 2.57 billion weights in bfloat16,
small normal, gradient checkpointing, 8-bit Lion; only its length and batch are cut to one step of
one picture at 256 px. Text encoders and autoencoder are of true size with random weights, written
as a single file without a U-Net (nothing is fetched) and removed at the end with the run: 15 GB.
It trains through `Run`, the loop behind `workbench train`, but leaves out the reload proof.

Claims: the process's own memory (RssAnon), its imports left aside, is at most a tenth more than
what `check` says of the same recipe; the first loss is 1 within a tenth; the file holds all of the
published names.
It does not start where less than 17 GiB are free, and ends with an error rather than take more.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from true_size import GB, IMPORTS, Watched, pictures, watch
from true_size_file import KINDS, original, write

if TYPE_CHECKING:
    from workbench.training.plan import Plan

NEEDED_GIB = 17
PRESET = "sdxl-unet-from-scratch"
OVERRIDES = (
    *("length.steps=1", "schedule.warmup=0"),
    *("training.batch_size=1", "training.accumulation=1"),
    *("data.buckets.resolution=256", "sampling.prompts=[]", "validation.every_steps=none"),
    *("sampling.width=256", "sampling.height=256"),  # of the inputs of the proof, which are kept
    *("validation.num_images=1", "validation.num_bins=1", "validation.draws=1"),
)
TRAIN = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[1]),) * 2)
from workbench.recipe import Recipe
from workbench.training.run import Run
recipe = Recipe.preset(sys.argv[2]).override(sys.argv[4:])
for event in Run(recipe, Path(sys.argv[3])).train():
    print(event.event, flush=True)
"""


def base_without_unet(path: Path) -> Path:
    """Write SDXL's single file, all but its U-Net."""
    tensors = original("sdxl")
    rest = {n: t for n, t in tensors.items() if not n.startswith("model.diffusion_model.")}
    write(path, rest, KINDS["sdxl"].stored)
    return path


def loss_of_first_step(run: Path) -> float:
    """The loss that the run told of its first step."""
    events = (json.loads(line) for line in (run / "events.jsonl").read_text().splitlines())
    return next(event["loss"] for event in events if event["event"] == "progress")


def names_saved(run: Path, recipe_name: str) -> tuple[set[str], int]:
    """Names in the U-Net's file, and its number of weights."""
    import math

    from workbench import store

    file = run / "lora" / recipe_name / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = store.read_header(file)[1]
    return set(tensors), sum(math.prod(shape) for _, shape in tensors.values())


def most_planned(found: "Plan") -> int:
    """Bytes that a step of one picture takes: what is held, and for a moment more."""
    own, first = found.memory[0], found.stages[0]
    return own.held + max(own.update, first.activations[True])


def report(taken: Watched, imports: Watched, run: Path) -> None:
    """Print what a run took, by what it was doing."""
    for stage, since_s, _, own in taken.stages:
        print(f"  {since_s:7.1f} s  {stage:32} own {own / GB:6.2f} GB")
    for path in sorted((run / "checkpoints").iterdir()):
        size = sum(file.stat().st_size for file in path.iterdir())
        print(f"checkpoint {path.name}: {size / GB:.2f} GB")
    beyond = taken.own - imports.own
    print(f"peak RssAnon {taken.own / GB:.2f} GB, {beyond / GB:.2f} GB above the imports")


def main() -> int:
    """Take the step; 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--folder", type=Path, help="for the files, 15 GB; the system's by default")
    asked = parser.parse_args()
    free = psutil.virtual_memory().available
    if free < NEEDED_GIB * 2**30:
        parser.error(f"{NEEDED_GIB} GiB of memory must be free, there are {free / 2**30:.1f}")
    from workbench.recipe import Recipe
    from workbench.training.plan import plan

    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        base = base_without_unet(folder / "sdxl-without-unet.safetensors")
        data, run = pictures(folder / "pictures"), folder / "run"
        given = [f"base.path={base}", f"data.subsets.0.path={data}", *OVERRIDES, *asked.overrides]
        recipe = Recipe.preset(PRESET).override(given)
        imports = watch(["-c", IMPORTS], folder)
        limit = str(NEEDED_GIB * 2**30)
        command = ["-c", TRAIN, limit, PRESET, str(run), *given]
        taken = watch(command, folder, events=run / "events.jsonl")
        report(taken, imports, run)
        first = loss_of_first_step(run)
        names, num_weights = names_saved(run, recipe.name)
        found = plan(recipe)  # while the base is there
    assert found is not None
    planned, beyond = most_planned(found), taken.own - imports.own
    unet = found.outline.parts["unet"]
    results = (
        (f"memory, {planned / GB:.2f} GB planned", f"{beyond / GB:.2f} GB", beyond < 1.1 * planned),
        ("first loss", f"{first:.4f}", abs(first - 1) < 0.1),
        ("names saved", f"{len(names):,}", names == set(unet.state_dict())),
        ("weights saved", f"{num_weights:,}", num_weights == 2_567_463_684),
    )
    for title, value, holds in results:
        print(f"{title}: {value}: {'holds' if holds else 'FAILS'}")
    return 0 if all(holds for *_, holds in results) else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
