"""A run's folder as a kill at each of its writes, flushes, renames and removals would leave it."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from workbench.launch import resume
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Event
from workbench.store import FileRefused
from workbench.training.run import Run

TORN = ("save_file", "write", "rmtree")


@dataclass
class Snapshots:
    """Copies of a run folder, one for each moment that leaves it in another state.

    Attributes:
        run: the folder that is copied.
        home: where the copies lie.
        wanted: which moments, by their number; all by default.
        moments: what was about to happen at each, in order.
        kept: number of the moment to its copy; equal folders are kept once.
    """

    run: Path
    home: Path
    wanted: Callable[[int], bool] = lambda number: True
    moments: list[str] = field(default_factory=list)
    kept: dict[int, Path] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand before every operation that changes a file."""
        for owner, name in (
            (os, "fsync"),
            (os, "rename"),
            (os, "replace"),
            (shutil, "rmtree"),
            (safetensors.torch, "save_file"),
        ):
            patch.setattr(owner, name, self._before(name, getattr(owner, name)))
        opened = open

        class File:
            """The event file: unbuffered, so that each write is one."""

            def __init__(file, path: Path, mode: str, **rest: Any) -> None:
                file.real, file.path = opened(path, mode, **rest), Path(path)

            def __getattr__(file, name: str) -> Any:
                return getattr(file.real, name)

            def write(file, data: bytes) -> int:
                self.take("write", file.path, data)
                return file.real.write(data)

        def open_file(path: Path, mode: str = "r", **rest: Any) -> Any:
            return File(path, mode, **rest) if "a" in mode else opened(path, mode, **rest)

        patch.setattr(log, "open", open_file, raising=False)

    def take(self, name: str, target: Path, data: bytes = b"") -> None:
        """Keep the folder as it is now, and torn where the operation can be."""
        if not self.run.exists():
            return
        for torn in (False, True) if name in TORN else (False,):
            number = len(self.moments)
            self.moments.append(f"{name} {target.name}{' torn' if torn else ''}")
            if not self.wanted(number):
                continue
            copy = self.home / f"{number:04d}"
            shutil.copytree(self.run, copy)
            (copy / "lock.json").unlink(missing_ok=True)  # its process is dead, after a kill
            if torn:
                self._tear(name, copy / target.relative_to(self.run), data)
            mark = _content(copy)
            if mark in self._seen:
                _RMTREE(copy)
            else:
                self._seen.add(mark)
                self.kept[number] = copy

    def _tear(self, name: str, target: Path, data: bytes) -> None:
        if name == "write":
            with open(target, "ab") as file:
                file.write(data[: len(data) // 2])
        elif name == "save_file":
            target.write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{half")
        elif target.is_dir():
            sorted(target.iterdir())[0].unlink()

    def _before(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **rest: Any) -> Any:
            place = args[1] if name in ("save_file", "rename", "replace") else args[0]
            if isinstance(place, int):
                place = os.readlink(f"/proc/self/fd/{place}")
            if Path(place).is_relative_to(self.run):
                self.take(name, Path(place))
            return function(*args, **rest)

        return watched


_RMTREE = shutil.rmtree


def _content(folder: Path) -> str:
    """Names and bytes of all files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)}\0{path.is_dir()}\0".encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def went_on(folder: Path, recipe: Recipe) -> Iterator[Event]:
    """`resume || train`, as a script on a machine that is taken away does it."""
    try:
        run = resume(folder)
    except FileRefused:  # killed before its recipe was written
        run = Run(recipe, folder)
    run.observers = []
    yield from run.train()


def trained(recipe: Recipe, snapshots: Snapshots) -> tuple[Path, list[Event]]:
    """Train to the end with copies made on the way; gives the final file and the events."""
    run = Run(recipe, snapshots.run)
    with pytest.MonkeyPatch.context() as patch:
        snapshots.install(patch)
        told = list(run.train())
    return run.final_lora, told
