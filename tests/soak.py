"""A long run beside which everything goes wrong again and again; `python tests/soak.py --help`.

The trainer is a process of its own, killed every few hundred steps. Between the kills it is paused,
asked for samples and saves, read by a page that polls, and its disk fills.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

TRAINER = """
import errno, os, signal, sys
from pathlib import Path
import psutil
from workbench.launch import resume
from workbench.recipe import Recipe
from workbench.store import FileRefused
from workbench.training import room
from workbench.training.run import Run

recipe, folder, full = (Path(argument) for argument in sys.argv[1:4])
room._SOONEST_S = 0.1
fsync = os.fsync
def flush(handle):
    if full.exists():
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))
    fsync(handle)
os.fsync = flush
try:
    run = resume(folder)
except FileRefused:
    run = Run(Recipe.load(recipe), folder)
run.observers = []
signal.signal(signal.SIGTERM, lambda *_: run.stop("terminated"))
process = psutil.Process()
with open(f"{folder}.memory", "a") as memory:
    for event in run.train():
        if event.event == "progress" and event.step % 25 == 0:
            print(os.getpid(), event.step, process.memory_info().rss, file=memory, flush=True)
"""


@dataclass
class Soaked:
    """What happened to a run.

    Attributes:
        lives: processes that it took.
        disturbances: how often each thing was done to it.
        memory: process to (step, resident bytes).
        final: the file that came of it.
        seconds: wall time.
    """

    lives: int = 0
    disturbances: dict[str, int] = field(default_factory=dict)
    memory: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    final: Path = Path()
    seconds: float = 0.0

    @property
    def growth(self) -> float:
        """Largest share by which a process grew, from its 50th step to its last; 0 if none did."""
        rose = [seen[-1][1] / seen[1][1] - 1 for seen in self.memory.values() if len(seen) > 3]
        return max(rose, default=0.0)


def start(recipe: Path, folder: Path, full: Path) -> subprocess.Popen[bytes]:
    """Begin the run, or go on with it."""
    command = [sys.executable, "-c", TRAINER, str(recipe), str(folder), str(full)]
    with open(f"{folder}.out", "ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def soak(recipe: Path, folder: Path, *, between_kills: int, seed: int = 0) -> Soaked:
    """Train to the end; without `between_kills` undisturbed."""
    from workbench.records import history, log

    draw, done, began = random.Random(seed), Soaked(), time.monotonic()
    full, seen, told = folder.with_suffix(".full"), 0, 0
    while not (folder.exists() and history.state(folder) == "finished"):
        child, done.lives = start(recipe, folder, full), done.lives + 1
        first = None
        ends_after = draw.randint(between_kills // 2, 2 * between_kills) if between_kills else 0
        while child.poll() is None:
            time.sleep(0.2)
            news = log.read(folder, after=seen)  # as a page polls
            seen = news[-1].seq if news else seen
            steps = [event.step for event in news if event.event == "progress"]
            if not steps or not between_kills:
                continue
            first = steps[0] if first is None else first
            if steps[-1] - first >= ends_after:
                child.send_signal(draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
                child.wait()
                _count(done, "killed" if child.returncode == -signal.SIGKILL else "terminated")
            elif steps[-1] - told >= between_kills // 8:
                told = steps[-1]
                _disturb(done, folder, full, draw)
            told = min(told, steps[-1])
        full.unlink(missing_ok=True)
        if child.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM):
            raise RuntimeError(Path(f"{folder}.out").read_text()[-3000:])
    done.seconds = time.monotonic() - began
    done.final = folder / "lora" / "tiny.safetensors"
    for line in Path(f"{folder}.memory").read_text().splitlines():
        pid, step, rss = map(int, line.split())
        done.memory.setdefault(pid, []).append((step, rss))
    return done


def _disturb(done: Soaked, folder: Path, full: Path, draw: random.Random) -> None:
    """Ask for something, or take the disk away for a moment."""
    from workbench.records.control import Control

    control, what = Control(folder), draw.choice(("pause", "sample-now", "save-now", "full"))
    _count(done, what)
    if what == "full":
        full.touch()
        control.request("save-now")
        time.sleep(1.0)
        full.unlink()
        return
    control.request(what)
    if what == "pause":
        time.sleep(0.5)
        control.clear("pause")


def _count(done: Soaked, what: str) -> None:
    done.disturbances[what] = done.disturbances.get(what, 0) + 1


def both(home: Path, steps: int, between_kills: int) -> tuple[Soaked, Soaked]:
    """An undisturbed run and a disturbed one of the same recipe."""
    sys.path.insert(0, str(Path(__file__).parent))
    from tiny_models import build_sd
    from tiny_recipes import tiny_recipe, write_photos

    recipe = tiny_recipe(
        build_sd(home / "base"),
        write_photos(home / "photos"),
        home,
        *(f"length.steps={steps}", f"training.checkpoint_every={max(10, between_kills // 6)}"),
        *("ema.decay=0.9", "adapter.dropout=0.1", "schedule.kind=cosine"),
        *("data.captions.shuffle=true", "data.captions.tag_dropout=0.3", "output.report=false"),
        *('sampling.prompts=["zib"]', "sampling.steps=1", f"sampling.every_steps={steps // 4}"),
    )
    path = home / "soak.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    os.environ |= {"OMP_NUM_THREADS": "1", "WORKBENCH_HOME": str(home / "home")}
    calm = soak(path, home / "calm", between_kills=0)
    return calm, soak(path, home / "rough", between_kills=between_kills)


def main() -> None:
    """Print what came of both runs."""
    from workbench import store

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--between-kills", type=int, default=300, help="steps, about")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        calm, rough = both(Path(home), given.steps, given.between_kills)
        one, other = store.load_tensors(calm.final), store.load_tensors(rough.final)
        figures = {
            "steps": given.steps,
            "same weights": one.keys() == other.keys()
            and all(one[name].equal(other[name]) for name in one),
            "lives": rough.lives,
            "disturbances": rough.disturbances,
            "memory grew by at most": f"{max(calm.growth, rough.growth):.1%}",
            "minutes": round(calm.seconds / 60, 1),
            "minutes, disturbed": round(rough.seconds / 60, 1),
        }
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
