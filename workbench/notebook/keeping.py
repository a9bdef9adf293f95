"""A run's second home: copied there whenever it saves, read back, and brought from there again.

A rented machine may be gone tomorrow, and a mounted drive is slow and now and then loses a write:
so a run works on the machine's own disk, and what it saved is copied and compared.
"""

import hashlib
import os
import shutil
from pathlib import Path

from workbench.store import FileRefused

# Written last of a folder and read first: without it a checkpoint counts as unfinished.
LAST = "manifest.json"
_NOT_KEPT = {"control", "lock.json"}


def keep(run: Path, home: Path) -> list[Path]:
    """Copy what is new of a run, and compare each copy with what was meant to be written.

    Args:
        run: the run folder.
        home: the folder of run folders that outlives this machine.
    Returns:
        The copies that were made; checkpoints that the run has dropped are dropped there too.
    Raises:
        FileRefused: a copy read back otherwise than it was written.
        OSError: the place is full or gone.
    """
    made, there = [], home / run.name
    for source in sorted(_files(run), key=lambda path: (path.name == LAST, path)):
        copy = there / source.relative_to(run)
        if not _is_there(source, copy):
            made.append(_copy(source, copy))
    kept = {path.name for path in (run / "checkpoints").glob("step-*")}
    for old in (there / "checkpoints").glob("step-*"):
        if kept and old.name not in kept:
            shutil.rmtree(old)
    return made


def bring_back(run: Path, home: Path) -> bool:
    """Fetch a run that this machine does not have, so that it can go on.

    Args:
        run: where the run folder is to lie.
        home: the folder of run folders that outlived the last machine.
    Returns:
        Whether there was one to fetch.
    """
    there = home / run.name
    if run.exists() or not (there / "events.jsonl").is_file():
        return False
    for source in _files(there):
        _copy(source, run / source.relative_to(there))
    return True


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.relative_to(folder).parts[0] not in _NOT_KEPT
        and not any(part.endswith(".tmp") for part in path.parts)
    ]


def _is_there(source: Path, copy: Path) -> bool:
    """Same size and as new: files of a run are written once, but for its events and its recipe."""
    if not copy.is_file():
        return False
    one, other = source.stat(), copy.stat()
    return one.st_size == other.st_size and one.st_mtime <= other.st_mtime + 2  # coarse clocks


def _copy(source: Path, copy: Path) -> Path:
    copy.parent.mkdir(parents=True, exist_ok=True)
    part = copy.with_name(f".{copy.name}.part")
    data = source.read_bytes()  # events may grow meanwhile: what was read is what is compared
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if hashlib.sha256(part.read_bytes()).digest() != hashlib.sha256(data).digest():
        part.unlink()
        raise FileRefused(f"{copy}: it was read back otherwise than it was written; try again")
    os.replace(part, copy)
    return copy
