"""Checkpoints that a kill, a full disk or a flipped byte cannot take away.

A checkpoint is a folder of safetensors and JSON, no pickle. It is written beside its place,
flushed, sealed by a manifest, moved into place, read back, and only then are older ones removed: at
every moment the newest valid folder is either the old one or the new one.
"""

import errno
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import store
from workbench.records.bundle import Bundle, CheckpointRefused, flatten, unflatten

__all__ = [
    "Bundle",
    "CheckpointRefused",
    "DiskFull",
    "Loaded",
    "NoCheckpoint",
    "flatten",
    "newest_valid",
    "save",
    "unflatten",
    "versions",
]

_MANIFEST = "manifest.json"
_DATA = "state.json"
_LIBRARIES = (
    "lora-workbench",
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors",
    "bitsandbytes",
    "prodigyopt",
)


class NoCheckpoint(CheckpointRefused):
    """No checkpoint was ever finished here."""


class DiskFull(OSError):
    """There is no room for a file; earlier ones are intact and nothing half is left.

    Attributes:
        needed_bytes: size of what was to be written; 0 while unknown.
        free_bytes: free space of its disk.
    """

    def __init__(self, path: Path, *, needed_bytes: int, free_bytes: int, why: str = ""):
        self.needed_bytes, self.free_bytes = needed_bytes, free_bytes
        what = "a checkpoint" if path.name.startswith("step-") else path.name
        message = (
            f"no room for {what}: it needs {needed_bytes:,} bytes and {free_bytes:,} are "
            f"free; what was saved before is intact, so free {needed_bytes - free_bytes:,} bytes "
            "and go on"
            if needed_bytes > free_bytes
            else f"{what} of {needed_bytes:,} bytes cannot be written, although {free_bytes:,} are "
            f"free: {why or 'a quota may be used up'}; what was saved before is intact"
        )
        super().__init__(errno.ENOSPC, message, str(path))


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid checkpoint.

    Attributes:
        step: optimizer steps done.
        path: its folder.
        bundle: its content, on the CPU.
        recipe_hash: of the recipe it was made with.
        versions: library versions it was made with.
        warnings: sentences on what was passed over and where the evidence lies.
    """

    step: int
    path: Path
    bundle: Bundle
    recipe_hash: str
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()


# -------------------------------------------------------------------------------------- saving


def save(folder: str | Path, step: int, bundle: Bundle, *, recipe_hash: str, keep: int = 2) -> Path:
    """Write a checkpoint, check it, and remove the oldest.

    Args:
        folder: the run folder; the checkpoint goes to `checkpoints/step-NNNNNN`.
        step: optimizer steps done, >= 0; one of the same step is replaced.
        bundle: what to keep.
        recipe_hash: SHA-256 of the recipe.
        keep: how many valid checkpoints stay, >= 2.
    Returns:
        The checkpoint's folder.
    Raises:
        DiskFull: no room; earlier checkpoints are intact and nothing half-written is left.
        CheckpointRefused: what was written does not read back; earlier ones are intact.
    """
    if keep < 2:
        raise ValueError(f"keep must be >= 2, got {keep}; a single checkpoint can be damaged")
    home = Path(folder) / "checkpoints"
    path = home / f"step-{step:06d}"
    temporary = path.with_name(path.name + ".tmp")
    needed = _size(bundle)
    if needed > (free := store.free_bytes(home)):
        raise DiskFull(path, needed_bytes=needed, free_bytes=free)
    try:
        home.mkdir(parents=True, exist_ok=True)
        for leftover in home.glob("step-*.tmp"):
            _clear(leftover)
        _write(temporary, step, bundle, recipe_hash)
        _move_into_place(temporary, path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if (why := store.no_room(error, home)) is not None:
            free = store.free_bytes(home)
            raise DiskFull(path, needed_bytes=needed, free_bytes=free, why=why) from error
        raise
    if (fault := _fault(path)) is not None:
        raise CheckpointRefused(
            f"{_set_aside(path)}: does not read back as it was written ({fault}); the disk may be "
            "failing; earlier checkpoints are intact"
        )
    _prune(path, keep=keep)
    return path


def _write(path: Path, step: int, bundle: Bundle, recipe_hash: str) -> None:
    """Write and flush every file of a checkpoint, the manifest last: without it nothing counts."""
    path.mkdir()
    for part, tensors in bundle.tensors.items():
        store.write_tensors(path / f"{part}.safetensors", tensors)
    _save_json(path / _DATA, bundle.data)
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)}
        for file in sorted(path.iterdir())
    }
    content = {"step": step, "recipe_hash": recipe_hash, "versions": versions(), "files": files}
    _save_json(path / _MANIFEST, {"content": content, "sha256": _seal(content)})
    store.sync(path)


def _save_json(path: Path, data: Any) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(data))
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(temporary: Path, path: Path) -> None:
    """Rename; an earlier checkpoint of the same step stays readable as `.old` until then."""
    old = path.with_name(path.name + ".old")
    if path.exists():
        if old.exists():
            _clear(old)
        store.patiently(lambda: os.rename(path, old))
    store.patiently(lambda: os.rename(temporary, path))
    store.sync(path.parent)


def _prune(newest: Path, *, keep: int) -> None:
    """Remove what `keep` valid checkpoints make needless; damaged ones stay as evidence."""
    _verified[newest] = _stamp(newest)
    num_valid = 1
    for path in _candidates(newest.parent):
        if path == newest:
            continue
        if path.suffix == ".old" and path.stem == newest.name:
            _remove(path)
        elif num_valid >= keep:
            _remove(path)
            _verified.pop(path, None)
        elif _verified.get(path) == _stamp(path) or _fault(path) is None:
            num_valid += 1


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a kill in between leaves no half of it among the others."""
    doomed = path.with_name(path.name + ".tmp")
    store.patiently(lambda: os.rename(path, doomed))
    _clear(doomed)


def _clear(folder: Path) -> None:
    store.patiently(lambda: shutil.rmtree(folder))


# What this process has read back, so that pruning need not hash it again at every save.
_verified: dict[Path, list[tuple[str, int, int]]] = {}


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    entries = [(entry.name, entry.stat()) for entry in os.scandir(path)]
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in entries)


# ------------------------------------------------------------------------------------- loading


def newest_valid(folder: str | Path, *, read_only: bool = False) -> Loaded:
    """Load the newest checkpoint that is exactly what was written.

    Damaged ones on the way are renamed to `step-N.bad` and named in `warnings`.

    Args:
        folder: the run folder.
        read_only: rename nothing: for who looks without the run's lock, while a trainer may save.
    Returns:
        The checkpoint.
    Raises:
        NoCheckpoint: none was ever finished here.
        CheckpointRefused: there are some, and none is valid.
    """
    home = Path(folder) / "checkpoints"
    warnings: list[str] = []
    for path in _candidates(home):
        if (fault := _fault(path)) is None:
            return _load(path, warnings)
        kept = path if read_only else _set_aside(path)
        warnings.append(f"{path.name} is damaged ({fault}); kept as {kept.name}")
    damaged = sorted(path.name for path in home.glob("step-*.bad*"))
    if damaged or warnings:
        raise CheckpointRefused(
            f"{home}: no valid checkpoint is left ({'; '.join(warnings) or ', '.join(damaged)}); "
            "restore one from a copy, or start a new run: this one does not begin again at step 0"
        )
    raise NoCheckpoint(f"{home}: no checkpoint was finished yet; start the run anew")


def versions() -> dict[str, str]:
    """Name the libraries that bitwise equality of a resumed run depends on.

    Returns:
        Distribution name to version, of those that are installed, and Python's.
    """
    return dict(_versions())


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in _LIBRARIES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _load(path: Path, warnings: list[str]) -> Loaded:
    content = _manifest(path)
    bundle = Bundle(data=store.read_json(path / _DATA))
    for name in content["files"]:
        if name != _DATA:
            # Cloned, or the tensors would keep the file mapped, and Windows could not remove it.
            tensors = {key: t.clone() for key, t in store.load_tensors(path / name).items()}
            bundle.tensors[name.removesuffix(".safetensors")] = tensors
    now = versions()
    for name, then in content["versions"].items():
        if now.get(name) != then:
            warnings.append(
                f"saved with {name} {then}, resumed with {now.get(name, 'none')}: the run goes on, "
                "and is not promised to end in the same bits"
            )
    return Loaded(
        step=content["step"],
        path=path,
        bundle=bundle,
        recipe_hash=content["recipe_hash"],
        versions=content["versions"],
        warnings=tuple(warnings),
    )


def _candidates(home: Path) -> list[Path]:
    """Finished checkpoints, newest first; a replaced one comes after its replacement."""
    found = [
        (int(match[1]), match[2] is None, path)
        for path in (home.iterdir() if home.exists() else ())
        if (match := re.fullmatch(r"step-(\d+)(\.old)?", path.name))
    ]
    return [path for *_, path in sorted(found, reverse=True)]


def _fault(path: Path) -> str | None:
    """Say what is wrong with a checkpoint; None when every byte is as it was written."""
    try:
        content = _manifest(path)
        for name, written in content["files"].items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != written["bytes"]:
                return f"{name} has {file.stat().st_size} bytes instead of {written['bytes']}"
            if _sha256(file) != written["sha256"]:
                return f"{name} is altered"
    except (store.FileRefused, CheckpointRefused, OSError) as error:
        return str(error)
    return None


def _manifest(path: Path) -> dict[str, Any]:
    """Read a manifest that proves itself by its own hash."""
    manifest = store.read_json(path / _MANIFEST)
    try:
        content, seal = manifest["content"], manifest["sha256"]
    except (KeyError, TypeError):
        raise CheckpointRefused(f"{_MANIFEST} is altered") from None
    if _seal(content) != seal:
        raise CheckpointRefused(f"{_MANIFEST} is altered")
    return content


def _set_aside(path: Path) -> Path:
    """Keep a damaged checkpoint as evidence where nothing takes it for a good one."""
    name, number = f"{path.name}.bad", 1
    while path.with_name(name).exists():
        number += 1
        name = f"{path.name}.bad{number}"
    store.patiently(lambda: os.rename(path, path.with_name(name)))
    return path.with_name(name)


def _seal(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(bundle: Bundle) -> int:
    """Bytes on disk, with room for headers, manifest and folder."""
    tensors = [tensor for part in bundle.tensors.values() for tensor in part.values()]
    names = sum(len(name) for part in bundle.tensors.values() for name in part)
    header = names + 100 * len(tensors)
    return sum(t.nbytes for t in tensors) + header + len(json.dumps(bundle.data)) + (1 << 16)
