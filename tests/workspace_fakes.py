"""Trainers for the queue: true processes that take locks and write events, without a model.

What one does is in the name of its run: short, long, preparing, broken, mistaken, deaf.
"""

import struct
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from workbench.workspace import spawning
from workbench.workspace.folders import Workspace
from workbench.workspace.hooks import Hooks
from workbench.workspace.jobs import Budget, Job, put

SCRIPT = """
import signal, sys, time
from pathlib import Path
from workbench.records.control import Control
from workbench.records.events import Finished, Preparing, Progress, Resumed, Started
from workbench.records.lock import RunLock
from workbench.records.log import EventLog

folder, kind = Path(sys.argv[1]), sys.argv[2]
does = folder.name.split("-")[0]
if does == "mistaken":
    print("optimizer.learning_rate must be > 0, got -1")
    sys.exit(2)
control = Control(folder)
with RunLock(folder), EventLog(folder) as log:
    control.clear()
    if does == "preparing":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        while True:
            log.append(Preparing(stage="caching latents", done=0, total=9))
            time.sleep(0.05)
    if kind == "resume":
        log.append(Resumed(step=1, total_steps=3))
    else:
        log.append(Started(run=folder.name, recipe_hash="0", total_steps=3))
    step = 0
    while does in ("long", "deaf") or step < 3:
        step += 1
        log.append(Progress(step=step, loss=0.5, eta_s=1.0))
        time.sleep(0.05)
        if does == "broken":
            raise RuntimeError("the dog ate the weights")
        if control.wants("stop") and does != "deaf":
            log.append(Finished(step=step, reason="stopped"))
            sys.exit(0)
    log.append(Finished(step=step))
"""


def fake_spawn(arguments: Sequence[str], output: IO[bytes], *, folder: Path) -> Any:
    """Start a stand-in where the worker would start a trainer."""
    kind = arguments[0]
    run = arguments[3] if kind == "train" else arguments[1]
    original = spawning.subprocess.Popen

    def popen(command: list[str], **options: Any) -> Any:
        return original([command[0], "-c", SCRIPT, run, kind], **options)

    spawning.subprocess.Popen = popen  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return spawning.spawn(arguments, output, folder=folder)
    finally:
        spawning.subprocess.Popen = original


def queued(workspace: Workspace, name: str, **more: Any) -> Job:
    """A job as `enqueue` leaves it."""
    folder = workspace.runs / name
    folder.mkdir()
    (folder / "recipe.toml").write_text("")
    return put(Job(id=time.time_ns(), folder=folder, budget=more.pop("budget", Budget()), **more))


def huge_png() -> bytes:
    """A picture of 30,000 x 30,000 px, as far as its header says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data


def until(true: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Wait for something, and hand it over."""
    end = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.02)
    return found


def work(folder: str) -> None:
    """A worker's whole life in this process, with stand-ins for trainers."""
    from workbench.workspace import worker

    worker.spawn = fake_spawn  # pyright: ignore[reportAttributeAccessIssue]
    worker.work(Workspace(Path(folder)), Hooks(), say=print)


if __name__ == "__main__":
    work(sys.argv[1])
