"""Where pictures and captions come from: folders and zips. Nothing is decoded here."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Protocol

from workbench import store
from workbench.data.litter import OWN_FOLDERS, is_litter_folder
from workbench.data.names import CAPTION_EXTENSIONS, is_image_name
from workbench.data.texts import legacy_codec
from workbench.settings import SettingsError
from workbench.store import shown

__all__ = [
    "CAPTION_EXTENSIONS",
    "MADE_BY",
    "METADATA_NAMES",
    "Files",
    "open_files",
    "shown",
    "why_missing",
]

METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
# What TOML makes of Windows' paths: the sign, and how it was written.
_ESCAPED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
_FAR = "lies only in the cloud (OneDrive, iCloud): have the folder kept on this device"
MADE_BY = "made-by.json"  # how `make-prior` drew the pictures beside it


class Files(Protocol):
    """A folder or a zip: names of its files, relative and with forward slashes, and a reader."""

    names: list[str]
    notes: list[str]

    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading."""
        ...

    def path(self, name: str) -> Path | None:
        """Where it lies on the disk; None inside a zip."""
        ...


class Folder:
    """A folder on the disk."""

    def __init__(self, root: Path, *, recursive: bool) -> None:
        self.root = root
        self.notes: list[str] = []
        self._left: Counter[str] = Counter()  # pictures left out, by what hides them
        self._far: list[str] = []
        self.names = sorted(self._walk(root, "", recursive))
        self.notes += _hidden(self._left)
        if self._far:
            named = ", ".join(map(shown, sorted(self._far)[:3]))
            more = f" and {len(self._far) - 3} more" if len(self._far) > 3 else ""
            self.notes.append(f"{named}{more} {_FAR}")

    def _walk(self, folder: Path, prefix: str, recursive: bool) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.name.startswith(".") and entry.name.endswith(".icloud"):
                    self._far.append(prefix + entry.name[1:-7])  # macOS puts `.x.png.icloud` there
                elif _is_hidden(entry):
                    self._leave(entry)
                elif store.is_link(entry) and _is_dir(entry):
                    # Following could run in circles; who wants it names it as a subset.
                    self.notes.append(f"linked folder {shown(name)} was not entered")
                elif not _is_dir(entry):
                    if entry.is_symlink() or entry.is_file():  # a broken link is set aside by name
                        yield name
                    else:  # reading a pipe would wait for ever
                        self.notes.append(f"{shown(name)} is no file and was left alone")
                elif recursive:
                    yield from self._inner(entry, f"{name}/")
                else:
                    self.notes.append(f"folder {shown(name)} was not entered")

    def _inner(self, entry: "os.DirEntry[str]", prefix: str) -> Iterator[str]:
        try:
            yield from self._walk(Path(entry.path), prefix, True)
        except OSError as error:
            self.notes.append(f"folder {shown(prefix)} cannot be read ({error.strerror})")

    def _leave(self, entry: "os.DirEntry[str]") -> None:
        """Count the pictures that a hidden file or a system's folder holds."""
        if entry.name in OWN_FOLDERS:
            return
        if entry.is_dir(follow_symlinks=False):
            inside = (name for _, _, names in os.walk(entry.path) for name in names)
            self._left[entry.name] += sum(map(is_image_name, inside))
        elif is_image_name(entry.name):
            self._left["hidden files"] += 1

    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading.

        Raises:
            FileRefused: it lies only in the cloud; reading would fetch it, and perhaps thousands.
        """
        path = os.path.join(self.root, name)
        if store.is_far(os.stat(path)):
            raise store.FileRefused(_FAR)
        return open(path, "rb")

    def path(self, name: str) -> Path | None:
        """Where it lies on the disk."""
        return self.root / name


def _is_hidden(entry: "os.DirEntry[str]") -> bool:
    """Whether a file or folder is hidden, or one that systems and tools make."""
    return entry.name.startswith(".") or (is_litter_folder(entry.name) and _is_dir(entry))


def _is_dir(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder, or a link to one; not a link that leads round in a circle."""
    try:
        return entry.is_dir()
    except OSError:
        return False


class Zip:
    """A zip archive, read in place and never unpacked."""

    def __init__(self, path: Path, *, recursive: bool) -> None:
        self.archive = open_archive(path)
        left: Counter[str] = Counter()
        self.names = []
        for name in sorted(self.archive.names):
            *folders, own = name.split("/")
            hiding = next((x for x in folders if x.startswith(".") or is_litter_folder(x)), None)
            if hiding is not None or own.startswith("."):
                left[hiding or "hidden files"] += is_image_name(own)
            elif recursive or not folders:
                self.names.append(name)
        self.notes = _hidden(left)

    def open(self, name: str) -> IO[bytes]:
        """Read one member whole, which also checks its CRC."""
        return io.BytesIO(self.archive.read(name))

    def path(self, name: str) -> Path | None:
        """Members have no place on the disk."""
        return None


def _hidden(left: Counter[str]) -> list[str]:
    """One note on pictures in places that no user keeps them in."""
    if not left.total():
        return []
    places = ", ".join(
        f"{shown(place)} ({count})" for place, count in sorted(left.items()) if count
    )
    return [f"pictures of systems and tools, or hidden, were left out: {places}"]


def open_archive(path: Path) -> store.Archive:
    """Open a checked zip once for all its members; again where the file was replaced.

    Args:
        path: a .zip file.
    Returns:
        The archive, left open.
    Raises:
        FileRefused: see `store.Archive`.
    """
    try:
        status = path.stat()
    except OSError:
        return store.Archive(path)  # says why
    return _opened(path, (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino))


@lru_cache(maxsize=8)
def _opened(path: Path, stamp: tuple[int, int, int, int]) -> store.Archive:
    return store.Archive(path)


def open_files(path: Path, *, setting: str, recursive: bool = True) -> Files:
    """Open a folder or zip.

    Args:
        path: what the user named.
        setting: name of the setting, for errors.
        recursive: enter the folders inside.
    Returns:
        Its files; hidden ones and those of systems are left out.
    Raises:
        SettingsError: no such path, its drive is gone, or neither folder nor zip.
        FileRefused: a zip that is damaged or dangerous.
    """
    if why := store.why_away(path):
        raise SettingsError(f"{setting}: {shown(str(path))} {why}, or name another folder")
    if path.is_dir():
        return Folder(path, recursive=recursive)
    if path.suffix.lower() == ".zip" and path.is_file():
        return Zip(path, recursive=recursive)
    rule = "must be a folder, a .zip file or critters:world"
    problem = "is a single file: name its folder" if path.exists() else "does not exist"
    problem += "" if path.exists() else why_missing(str(path))
    raise SettingsError(f"{setting} {rule}; {shown(str(path))} {problem}")


def why_missing(path: str) -> str:
    """Say what may have happened to a path on its way into a recipe.

    Args:
        path: that does not exist.
    Returns:
        A hint that begins with a semicolon; "" where there is none.
    """
    if any(sign in path for sign in _ESCAPED):
        meant = "".join(_ESCAPED.get(sign, sign) for sign in path)
        return (
            "; a backslash in double quotes begins an escape, so write it in single quotes: "
            f"'{meant}'"
        )
    data = path.encode("utf-8", "surrogateescape")
    plain = path.isascii() or any(ord(letter) >= 0x800 for letter in path)
    if not plain and (codec := legacy_codec([data])):
        return f"; in {codec} it would read {data.decode(codec)}: save the recipe as UTF-8"
    return ""


def case_conflicts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Find names that some systems take for the same file.

    Args:
        names: of files in one folder or zip.
    Returns:
        Pairs that differ in upper and lower case only.
    """
    first: dict[str, str] = {}
    pairs = ((name, first.setdefault(name.casefold(), name)) for name in names)
    return [(other, name) for name, other in pairs if other != name]
