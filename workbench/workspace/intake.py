"""What is taken in from outside: which files, under which names, and how much of it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workbench import store
from workbench.data.listed import metadata
from workbench.data.names import folded
from workbench.data.sources import METADATA_NAMES
from workbench.store import FileRefused, shown
from workbench.workspace.folders import Workspace

TEXTS = frozenset({".txt", ".caption"})
EXTENSIONS = store.IMAGE_EXTENSIONS | TEXTS | {".zip", ".safetensors"}
# Words for many pictures in one file, which a dataset reads from its folder.
METADATA = frozenset(METADATA_NAMES)
MAX_TEXT_BYTES = 1 << 20
MAX_METADATA_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be sent.

    Attributes:
        file_bytes: of one file.
        spare_bytes: of the disk that stay free, for runs and caches.
    """

    file_bytes: int = 16 << 30
    spare_bytes: int = 1 << 30


def place(workspace: Workspace, folder: str, name: str) -> Path:
    """Where a file that is sent will lie.

    Args:
        workspace: where.
        folder: the data set, a folder in data/; a .safetensors file goes to that folder in models/.
        name: the file's name, without folders.
    Returns:
        The path.
    Raises:
        FileRefused: its name or kind is not taken.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in EXTENSIONS and not lists_captions(name):
        raise FileRefused(
            f"{shown(name)}: must be a picture, a caption (.txt, .caption, .json, metadata.jsonl, "
            f"metadata.csv), a .zip or a .safetensors file, got {suffix or 'no extension'!r}"
        )
    part = "models" if suffix == ".safetensors" else "data"
    path = workspace.inside(part, f"{folder}/{name}")
    if "/" in name or name.startswith(".") or folder.startswith("."):
        raise FileRefused(
            f"{shown(name)}: a file's name must not hold a /, nor it or its folder begin with a "
            "dot; rename it"
        )
    return path


def lists_captions(name: str) -> bool:
    """Whether a file may hold the captions of many pictures, or what a tool says of one.

    Args:
        name: with or without its folders.
    Returns:
        By its name alone; what is in it is looked at when it has arrived.
    """
    return name.rpartition("/")[2] in METADATA or name.lower().endswith(".json")


def refuse_taken(target: Path) -> None:
    """Refuse a file whose place is taken, also by one that only some systems take for the same.

    Args:
        target: where it would lie.
    Raises:
        FileRefused: both are named.
    """
    other = conflict(target.parent, target.name)
    if other is None:
        return
    same = "is there already" if other == target.name else f"and {shown(other)} differ in case only"
    raise FileRefused(f"{shown(target.name)} {same}; rename one of them, or remove the one there")


def conflict(folder: Path, name: str) -> str | None:
    """Find a file that some systems would take for the same.

    Args:
        folder: where, existing or not.
        name: a file name.
    Returns:
        The other's name, such as "Cat.png" for "cat.png"; None where there is none.
    """
    if not folder.is_dir():
        return None
    return next((other for other in os.listdir(folder) if folded(other) == folded(name)), None)


def look(path: Path, name: str) -> None:
    """Refuse a file that is not what its name says; pictures by their headers alone.

    Args:
        path: the file, with the right extension.
        name: what to call it.
    Raises:
        FileRefused: it is damaged, dangerous or something else.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".zip":
            store.Archive(path).close()
        elif suffix == ".safetensors":
            store.read_header(path)
        elif suffix in store.IMAGE_EXTENSIONS:
            store.image_header(path)
        elif suffix == ".json":
            store.read_json(path)
        elif name.rpartition("/")[2] in METADATA:
            _read_words(path, name)
    except FileRefused as error:
        raise FileRefused(str(error).replace(shown(path), shown(name))) from None


def _read_words(path: Path, name: str) -> None:
    """Every row, as a dataset will read it: one that is damaged would refuse the whole folder."""
    metadata(_One(path, [name], []), name)


@dataclass(slots=True)
class _One:
    """One file as if it lay in its folder already."""

    file: Path
    names: list[str]
    notes: list[str]

    def open(self, name: str) -> IO[bytes]:
        return open(self.file, "rb")

    def path(self, name: str) -> Path | None:
        return self.file
