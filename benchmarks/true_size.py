"""What SD 1.5 and SDXL need in full size: one step of a LoRA and the proof of its file.

    python benchmarks/true_size.py [sd15] [sdxl] [--folder DIR] [--ema] [key=value ...]

The file of each is written with random weights in the layout that people download
(`true_size_file.py`; nothing is fetched) and removed at the end: 4.3 GB for SD 1.5 (7.7 with --ema,
the moving averages that the training file carries), 6.9 GB for SDXL. Then come the commands that a
user types, each in a process of its own: `new`, `check`, `train` of one step at 512 px in bfloat16.
Training ends with the reload proof. Overrides go to the recipe, as base.dtype=float32.

Claims: a base's headers are read in at most .5 s; the memory that the process holds beyond its
imports never exceeds 1.3 times the weights in the precision in use plus the largest part. Resident
pages that only map the file are counted too, although the system takes them back when it must.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from true_size_file import KINDS, ROOT, Kind, parts

MAX_HEADER_S, MAX_SHARE = 0.5, 1.3
GB = 1e9
OVERRIDES = (
    *("data.buckets.resolution=512", "sampling.width=512", "sampling.height=512"),
    *("sampling.steps=2", "length.steps=1", "training.accumulation=1", "training.batch_size=1"),
    *("validation.num_images=1", "validation.num_bins=1", "validation.draws=1"),
    *("optimizer.kind=adamw", "optimizer.learning_rate=0.01", "schedule.kind=constant"),
    *('sampling.prompts=["zib"]', "output.report=false"),
)
IMPORTS = "import peft, accelerate, diffusers.pipelines.stable_diffusion_xl, transformers"
HEADERS = """
import sys, time
from workbench.models.base import BaseSettings
from workbench.checks.base import look
import torch, safetensors.torch
settings, before = BaseSettings(path=sys.argv[1]), time.perf_counter()
found = look(settings)
assert not found.refused, found.refused
print(time.perf_counter() - before)
"""


@dataclass
class Watched:
    """What a process took.

    Attributes:
        wall_s: until it ended.
        peak: most resident bytes, mapped files included.
        own: most bytes of memory that is its own; 0 where the system does not tell.
        stages: name, first second, most resident and most own bytes of each stage.
        output: of the process.
    """

    wall_s: float = 0
    peak: int = 0
    own: int = 0
    stages: list[tuple[str, float, int, int]] = field(default_factory=list)
    output: str = ""

    def note(self, resident: int, own: int, stage: str) -> None:
        """Take one reading."""
        self.peak, self.own = max(self.peak, resident), max(self.own, own)
        if not self.stages or self.stages[-1][0] != stage:
            self.stages.append((stage, self.wall_s, 0, 0))
        name, since_s, *most = self.stages[-1]
        self.stages[-1] = (name, since_s, max(most[0], resident), max(most[1], own))


def watch(command: Sequence[str], folder: Path, *, events: Path | None = None) -> Watched:
    """Run a command in a process of its own and watch its memory, twenty times a second.

    Args:
        command: arguments of Python.
        folder: where it runs and keeps its caches.
        events: the events file of a run, which says what the process is doing.
    Returns:
        What it took.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WORKBENCH_HOME": str(folder / "home")}
    found, began, stage = Watched(), time.perf_counter(), _stages(events)
    with open(folder / "output.txt", "w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment | {"HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            found.wall_s = time.perf_counter() - began
            try:
                memory = psutil.Process(process.pid).memory_info()
            except psutil.NoSuchProcess:
                break
            found.note(memory.rss, memory.rss - getattr(memory, "shared", memory.rss), next(stage))
            time.sleep(0.05)
        process.wait()
        found.wall_s = time.perf_counter() - began
        output.seek(0)
        found.output = output.read()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{found.output}")
    return found


def _stages(events: Path | None) -> Iterator[str]:
    """The last event that a run has written down, whenever it is asked for."""
    import json

    said, place = "starting", 0
    while True:
        if events is not None and events.exists():
            with events.open() as file:
                file.seek(place)
                lines = file.read()
            whole = lines[: lines.rfind("\n") + 1]
            place += len(whole.encode())
            for line in whole.splitlines():
                event = json.loads(line)
                said = {"preparing": event.get("stage", "")}.get(event["event"], event["event"])
        yield said


@contextmanager
def base_file(kind_name: str, folder: Path, *, ema: bool) -> Iterator[Path]:
    """Write a base's file and remove it in the end."""
    path = folder / KINDS[kind_name].file
    script = [sys.executable, str(Path(__file__).with_name("true_size_file.py"))]
    ask = [*script, kind_name, str(path), *(["--ema"] if ema else [])]
    try:
        subprocess.run(ask, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
        yield path
    finally:
        path.unlink(missing_ok=True)


def weights(kind: Kind, recipe_file: Path) -> tuple[int, int]:
    """Bytes of all weights in the precision of a recipe, and of the largest part."""
    import torch

    from workbench.recipe import Recipe

    base = Recipe.load(recipe_file).base
    sizes = []
    for name, tensors in parts(kind.version).items():
        dtype = getattr(torch, base.vae_dtype if name == "vae" else base.dtype)
        sizes.append(sum(tensor.numel() for tensor in tensors.values()) * dtype.itemsize)
    return sum(sizes), max(sizes)


def pictures(folder: Path) -> Path:
    """Two small pictures with captions."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for number, colour in enumerate(("teal", "orange")):
        Image.new("RGB", (512, 512), colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"zib, {colour}")
    return folder


def measure(name: str, folder: Path, overrides: Sequence[str], *, ema: bool) -> bool:
    """Measure one base from its file to the proof, and print what was found.

    Returns:
        Whether the claims hold.
    """
    kind, recipe, run = KINDS[name], folder / f"{name}.toml", folder / f"{name}-run"
    data = pictures(folder / "pictures")
    imports = watch(["-c", IMPORTS], folder).peak
    workbench = ["-m", "workbench"]
    with base_file(name, folder, ema=ema) as base:
        size = base.stat().st_size
        headers = float(watch(["-c", HEADERS, str(base)], folder).output.split()[-1])
        asked = ["new", name, "--base", str(base), "--data", str(data), "--out", str(recipe)]
        new = watch([*workbench, *asked, "--trigger", "zib", *OVERRIDES, *overrides], folder)
        check = watch([*workbench, "check", str(recipe)], folder)
        asked = ["train", str(recipe), "--folder", str(run)]
        train = watch([*workbench, *asked], folder, events=run / "events.jsonl")
    total, largest = weights(kind, recipe)
    limit = MAX_SHARE * total + largest
    print(f"{kind.title}: {size / GB:.2f} GB file; in the precision in use {total / GB:.2f} GB of")
    print(f"weights, the largest part {largest / GB:.2f} GB; imports alone {imports / GB:.2f} GB")
    for stage, since_s, peak, own in train.stages:
        print(f"  {since_s:7.1f} s  {stage:24} {peak / GB:6.2f} GB, own {own / GB:6.2f} GB")
    print("\n".join(line for line in train.output.splitlines() if "proof" in line.lower()))
    print(f"`new` {new.wall_s:.1f} s, `check` {check.wall_s:.1f} s, `train` {train.wall_s:.0f} s")
    beyond = train.peak - imports
    print(f"peak {train.peak / GB:.2f} GB resident, of which its own {train.own / GB:.2f} GB")
    results = (
        ("headers", headers, MAX_HEADER_S, "s"),
        ("memory beyond the imports", beyond / GB, limit / GB, "GB"),
    )
    for title, value, bound, unit in results:
        verdict = "holds" if value <= bound else "FAILS"
        print(f"{title}: {value:.2f} {unit}; at most {bound:.2f}: {verdict}")
    print(f"that is {beyond / total:.2f} times the weights\n", flush=True)
    shutil.rmtree(run)
    return all(value <= bound for _, value, bound, _ in results)


def main() -> None:
    """Measure the bases that were asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="*", help="sd15, sdxl (both by default); key=value")
    parser.add_argument("--folder", type=Path, help="for the files, 8 GB; the system's by default")
    parser.add_argument("--ema", action="store_true", help="SD 1.5 with its moving averages")
    asked = parser.parse_args()
    names = [word for word in asked.what if "=" not in word] or list(KINDS)
    if unknown := [name for name in names if name not in KINDS]:
        parser.error(f"{', '.join(unknown)}: must be of {', '.join(KINDS)}, or key=value")
    overrides = [word for word in asked.what if "=" in word]
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        hold = [measure(name, Path(folder), overrides, ema=asked.ema) for name in names]
    sys.exit(not all(hold))


if __name__ == "__main__":
    main()
