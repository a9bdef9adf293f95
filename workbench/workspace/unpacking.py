"""A zip file that was sent becomes the files in it: looked at first, all of them or none."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workbench import store
from workbench.data.litter import is_litter_folder
from workbench.data.names import folded
from workbench.records.lock import one_at_a_time
from workbench.store import FileRefused, shown
from workbench.workspace.folders import Workspace
from workbench.workspace.intake import (
    MAX_TEXT_BYTES,
    TEXTS,
    Limits,
    lists_captions,
    look,
    refuse_taken,
)

MAX_MEMBER_BYTES = 256 << 20  # a member is read in one piece


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came of a zip file.

    Attributes:
        written: files that are in place now.
        set_aside: member and reason, of those that were not taken.
    """

    written: tuple[Path, ...]
    set_aside: tuple[tuple[str, str], ...]


def unpack(
    workspace: Workspace,
    archive: Path,
    *,
    into: Path | None = None,
    keep: bool = False,
    limits: Limits = Limits(),
) -> Unpacked:
    """Put the pictures and captions of a zip file into a folder, folders included.

    Args:
        workspace: whose data folder it lies in.
        archive: the zip file.
        into: a folder of data/; by default the one that the zip file lies in.
        keep: leave the zip file there too.
        limits: how much of the disk must stay free.
    Returns:
        What was written, and what was set aside and why.
    Raises:
        FileRefused: a member climbs out, is damaged or encrypted, inflates too far, or would take
            the place of another file; or the disk has no room. Nothing is written then.
    """
    parts = workspace.data / ".parts"
    parts.mkdir(exist_ok=True)
    opened = store.Archive(archive)
    try:
        taken, set_aside = _choose(opened)
        _require_room(opened, taken, limits)
        folder = into or archive.parent
        places = _places(workspace, folder, taken, archive=opened)
        there = {name for name in taken if places[name].is_file()}  # from a time that was cut off
        with tempfile.TemporaryDirectory(dir=parts) as drafted:
            drafts = {}
            for number, name in enumerate(name for name in taken if name not in there):
                draft = Path(drafted) / f"{number}{places[name].suffix.lower()}"
                draft.write_bytes(opened.read(name))
                if _is_sound(draft, name, set_aside):
                    drafts[name] = draft
            folder.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(folder):
                _move(drafts, places)
    finally:
        opened.close()
    if not keep:
        archive.unlink()
    whole = tuple(places[name] for name in taken if name in drafts or name in there)
    return Unpacked(whole, tuple(set_aside))


def _choose(archive: store.Archive) -> tuple[list[str], list[tuple[str, str]]]:
    """Members to write, and those to leave."""
    taken: list[str] = []
    left: list[tuple[str, str]] = []
    for name in archive.names:
        path = PurePosixPath(name.replace("\\", "/"))
        if any(part.startswith(".") or is_litter_folder(part) for part in path.parts):
            left.append((name, "made by a file manager"))
        elif path.suffix.lower() not in store.IMAGE_EXTENSIONS | TEXTS and not lists_captions(
            path.name
        ):
            left.append((name, "neither picture nor caption"))
        elif archive.size(name) > (
            MAX_TEXT_BYTES if path.suffix.lower() in TEXTS else MAX_MEMBER_BYTES
        ):
            left.append((name, f"too large ({archive.size(name):,} bytes)"))
        else:
            taken.append(name)
    return taken, left


def _require_room(archive: store.Archive, names: list[str], limits: Limits) -> None:
    needed = sum(map(archive.size, names))
    room = store.free_bytes(archive.path.parent) - limits.spare_bytes
    if needed > room:
        raise FileRefused(
            f"{shown(archive.path.name)}: unpacks to {needed:,} bytes, and the disk has room for "
            f"{max(0, room):,}; delete runs or data that are no longer needed"
        )


def _places(
    workspace: Workspace, folder: Path, names: list[str], *, archive: store.Archive
) -> dict[str, Path]:
    """Where each member goes; two that some systems take for one file are refused."""
    base = folder.resolve().relative_to(workspace.data.resolve()).as_posix()
    places: dict[str, Path] = {}
    seen: dict[str, str] = {}
    taken = _Taken()
    for name in names:
        path = workspace.inside("data", f"{base}/{name.replace(chr(92), '/')}")
        if (other := seen.setdefault(folded(str(path)), name)) != name:
            raise FileRefused(
                f"{shown(other)} and {shown(name)} in it differ in case only; rename one of them"
            )
        if not _is_same(path, archive, name):
            taken.refuse(path)
        places[name] = path
    return places


class _Taken:
    """Which names are taken; each folder is listed once, however many files come into it."""

    def __init__(self) -> None:
        self._known: dict[Path, set[str]] = {}

    def refuse(self, path: Path) -> None:
        """Refuse a place that is taken; see `refuse_taken`."""
        folder = path.parent
        if folder not in self._known:
            names = os.listdir(folder) if folder.is_dir() else ()
            self._known[folder] = set(map(folded, names))
        if folded(path.name) in self._known[folder]:
            refuse_taken(path)


def _is_same(path: Path, archive: store.Archive, name: str) -> bool:
    """Whether a member is in its place already, byte for byte: unpacking was cut off before."""
    return (
        path.is_file()
        and path.stat().st_size == archive.size(name)
        and path.read_bytes() == archive.read(name)
    )


def _is_sound(draft: Path, name: str, set_aside: list[tuple[str, str]]) -> bool:
    """Set a picture aside that is none; the others are good all the same."""
    try:
        look(draft, name)
    except FileRefused as error:
        set_aside.append((name, str(error).removeprefix(f"{shown(name)}: ")))
        return False
    return True


def _move(drafts: dict[str, Path], places: dict[str, Path]) -> None:
    """Put files in place, or none of them."""
    done: list[Path] = []
    taken = _Taken()
    try:
        for name in drafts:
            taken.refuse(places[name])  # somebody else may have put one there meanwhile
        for name, draft in drafts.items():
            places[name].parent.mkdir(parents=True, exist_ok=True)
            shutil.move(draft, places[name])
            done.append(places[name])
    except (FileRefused, OSError):
        for path in done:
            path.unlink()
        raise
