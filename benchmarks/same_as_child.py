"""Runs the jobs of `same_as.py` with the checkout that PYTHONPATH names.

    python benchmarks/same_as_child.py CHECKOUT JOBS.json FOLDER

It uses only what every commit offers: recipes, `workbench.start`, events and files. To
FOLDER/found.json it writes, for each job, what was compared: column to item to SHA-256.
"""

import hashlib
import json
import os
import struct
import sys
import time
import tomllib
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

import workbench
from workbench.recipe import Recipe

Items = dict[str, str]  # name of a thing to its digest, in the order in which the things came

# Entries that hold the time of the run, and the hash that reads them.
TIMED = ("ss_training_finished_at", "modelspec.date", "sshs_legacy_hash")
RECIPE = "workbench.recipe"  # the entry that holds it
MAY_BE_EMPTY = ("caches",)  # a drawn world keeps nothing


def of_bytes(data: bytes) -> str:
    """SHA-256 of bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def of_number(value: float | None) -> str:
    """SHA-256 of a number's eight bytes; the number stands before it for the reader."""
    if value is None:
        return "none"
    return f"{value:.9g} {of_bytes(struct.pack('<d', value))}"


def of_tensor(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes; type and shape stand before it."""
    plain = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    data = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    return f"{plain.dtype} {tuple(plain.shape)} {of_bytes(data)}"


def of_steps(events: Iterable[Any]) -> Items:
    """Loss, gradient norm and learning rates of each step."""
    found = {}
    for event in events:
        if event.event == "progress":
            numbers = {"loss": event.loss, "gradient norm": event.gradient_norm}
            for name, value in (numbers | event.learning_rates).items():
                found[f"step {event.step} {name}"] = of_number(value)
    return found


def of_validations(events: Iterable[Any]) -> Items:
    """The stable losses, the base's and those of each range of timesteps included."""
    found = {}
    for event in events:
        if event.event == "validated":
            ranges = (*event.bin_losses, *event.base_bin_losses)
            for number, value in enumerate((event.loss, event.base_loss, *ranges)):
                found[f"step {event.step} {event.split} {number}"] = of_number(value)
    return found


def tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a safetensors file in the order in which they lie there."""
    with safe_open(file, "pt") as opened:
        for name in opened.offset_keys():
            yield name, opened.get_tensor(name)


def of_files(folder: Path) -> Items:
    """Tensors of all safetensors files below a folder, by file and name."""
    return {
        f"{file.relative_to(folder).as_posix()} {name}": of_tensor(tensor)
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in tensors(file)
    }


def of_caches(home: Path) -> Items:
    """Cached tensors by content, in whichever files they lie."""
    files = home.rglob("*.safetensors")
    found = sorted((name, of_tensor(tensor)) for file in files for name, tensor in tensors(file))
    return {f"{number} {name}": digest for number, (name, digest) in enumerate(found)}


def of_metadata(folder: Path) -> Items:
    """Headers of the safetensors files below a folder, the recipe by setting, without the time."""
    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            entries = opened.metadata() or {}
        recipe = tomllib.loads(entries.pop(RECIPE))
        entries |= {f"{RECIPE} {key}": value for key, value in settings(recipe)}
        for key in sorted(entries.keys() - set(TIMED)):
            found[f"{file.relative_to(folder).as_posix()} {key}"] = of_bytes(entries[key].encode())
    return found


def settings(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Settings of a recipe by their path, as JSON."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from settings(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", json.dumps(value)


def of_pictures(folder: Path) -> Items:
    """Pixels of the samples."""
    found = {}
    for file in sorted(folder.rglob("*.png")):
        with Image.open(file) as image:
            name = file.relative_to(folder).as_posix()
            found[name] = f"{image.mode} {image.size} {of_bytes(image.tobytes())}"
    return found


def train(name: str, job: dict[str, Any], folder: Path) -> dict[str, Items]:
    """Run one job with caches of its own and say what came of it.

    Args:
        name: of the job.
        job: the "recipe" as plain data and its "overrides".
        folder: for the job's run and caches.
    Returns:
        Column to what is compared there.
    """
    home, run_folder = folder / "home", folder / "run"
    os.environ["WORKBENCH_HOME"] = str(home)
    recipe = Recipe.model_validate(job["recipe"]).override(job["overrides"])
    run = workbench.start(recipe, folder=run_folder)
    events = list(run.train())
    trained = run.trainer.trainables
    newest = max((run_folder / "checkpoints").iterdir())
    found = {
        "steps": of_steps(events),
        "validated": of_validations(events),
        "weights": {key: of_tensor(weight) for key, weight in trained.items()},
        "caches": of_caches(home),
        "pictures": of_pictures(run_folder / "samples"),
        "file": of_files(run_folder / "lora"),
        "metadata": of_metadata(run_folder / "lora"),
        "checkpoint": of_files(newest),
    }
    empty = [column for column, items in found.items() if not items and column not in MAY_BE_EMPTY]
    assert not empty, f"{name}: nothing to compare in {', '.join(empty)}"
    return found


def main() -> None:
    """Run all jobs, one after another; one that fails is written down as its error."""
    root, jobs, folder = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    assert Path(workbench.__file__).is_relative_to(root), f"{workbench.__file__} is not in {root}"
    found: dict[str, dict[str, Any]] = {}
    for name, job in json.loads(jobs.read_text()).items():
        before = time.monotonic()
        try:
            found[name] = train(name, job, folder / name)
        except Exception:
            found[name] = {"error": traceback.format_exc(limit=-3)}
        ending = "FAILED" if "error" in found[name] else "done"
        print(f"  {name}: {ending} in {time.monotonic() - before:.1f} s", flush=True)
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
