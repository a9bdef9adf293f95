"""Files that are written whole or not at all, and text that is read with a clear refusal."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from workbench.store.systems import patiently

_LEFTOVER = re.compile(r"\.[0-9a-f]{12}\.(\d+)\.\d+\.tmp")  # as `replacing` names it


class FileRefused(ValueError):
    """A file is damaged, dangerous or not what its name says: named, and never half-read."""


def shown(path: str | Path) -> str:
    """A file's name as it stands in a message: one printable line, whatever it is made of.

    Args:
        path: any path.
    Returns:
        The path; line breaks and bytes that are no text are escaped.
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file so that a crash leaves the old one or the new one, never a part.

    Args:
        path: where; parent folders are made.
        data: the whole content.
    Returns:
        The path.
    Raises:
        OSError: the disk is full or the folder not writable; the old file is then intact.
    """
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(path)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder that is there whole, or not at all.

    Args:
        folder: absent, or empty.
    Yields:
        Where to write.
    Raises:
        OSError: the disk is full, or the folder holds something; nothing is left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = folder.with_name(f".{folder.name[:200]}.{os.getpid()}.tmp")
    try:
        staged.mkdir()
        yield staged
        if folder.is_dir():
            folder.rmdir()
        staged.replace(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically; see `write_bytes`.

    Args:
        path: where.
        text: the whole content.
    Returns:
        The path.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, data: Any) -> Path:
    """Write JSON atomically; see `write_bytes`. NaN and infinity are refused.

    Args:
        path: where.
        data: JSON-able data.
    Returns:
        The path.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError:  # a file name of bytes that are no text: written as escapes
        content = json.dumps(data, indent=1).encode("ascii")
    return write_bytes(path, content)


def sync(path: str | Path) -> None:
    """Force a file's or folder's content to the disk.

    Args:
        path: an existing file, or a folder (where the system allows to open one).
    """
    if os.name == "nt" and Path(path).is_dir():
        return  # Windows cannot open folders; its rename is journaled
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of a file, which takes its place when the block succeeds.

    Args:
        path: the file to be; parent folders are made.
    Yields:
        Where to write; write and sync it whole. It is removed when the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name of its own: a 255-byte file name leaves no room for a suffix.
    mark = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    temporary = path.with_name(f".{mark}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        patiently(lambda: os.replace(temporary, path))
        with contextlib.suppress(OSError):  # network mounts that cannot sync a folder; it is there
            sync(path.parent)
    finally:
        patiently(lambda: temporary.unlink(missing_ok=True))


def clear_leftovers(folder: str | Path) -> None:
    """Remove the halves of files that killed processes were writing; see `replacing`.

    Args:
        folder: looked through with all that is in it. Files of other living processes stay.
    """
    for path in Path(folder).rglob(".*.tmp"):
        found = _LEFTOVER.fullmatch(path.name)
        if found and (int(found[1]) == os.getpid() or not psutil.pid_exists(int(found[1]))):
            with contextlib.suppress(OSError):  # it costs room, and nothing else
                path.unlink()


def read_text(path: str | Path) -> str:
    """Read UTF-8 text.

    Args:
        path: an existing file.
    Returns:
        Its text.
    Raises:
        FileRefused: the file is missing or not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise FileRefused(f"{shown(path)}: {why_unreadable(error)}") from None
    except UnicodeDecodeError as error:
        raise FileRefused(
            f"{shown(path)}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Args:
        path: an existing file.
    Returns:
        Its data.
    Raises:
        FileRefused: missing, not UTF-8, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileRefused):
            raise
        raise FileRefused(f"{shown(path)}: not valid JSON: {error}") from None


def why_unreadable(error: OSError) -> str:
    """Why the system gave no content, in a few words.

    Args:
        error: what reading raised.
    Returns:
        For example "no such file".
    """
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read: {(error.strerror or str(error)).lower()}"


def cache_home() -> Path:
    """The folder for what can be made again: `$WORKBENCH_HOME/cache`, else the user's cache.

    Returns:
        The folder; it may not exist yet.
    """
    if home := os.environ.get("WORKBENCH_HOME"):
        return Path(home) / "cache"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(base or Path.home() / ".cache") / "lora-workbench"


# What the system says of a disk that takes nothing for now, and may again: full, over a quota,
# remounted read-only after an error, unplugged, a share that is away. Windows has not all of them.
_NO_ROOM = {
    getattr(errno, name): why
    for name, why in {
        "ENOSPC": "the disk is full",
        "EDQUOT": "a quota is used up",
        "EROFS": "the disk is read-only",
        "EIO": "the disk does not answer",
        "ENODEV": "the disk is gone",
        "ENXIO": "the disk is gone",
        "ESTALE": "the network drive is gone",
        "ENOTCONN": "the network drive is gone",
        "EHOSTDOWN": "the network drive is gone",
        "ETIMEDOUT": "the network drive does not answer",
    }.items()
    if hasattr(errno, name)
}


def no_room(error: OSError, path: str | Path) -> str | None:
    """Say why a disk takes nothing for now, if this is what an error means.

    Args:
        error: of a write.
        path: what was to be written.
    Returns:
        A few words; None for any other error.
    """
    why = _NO_ROOM.get(error.errno or 0)
    if error.errno == errno.ENOSPC and hasattr(os, "statvfs"):
        with contextlib.suppress(OSError):
            folder = _existing(path)
            if os.statvfs(folder).f_favail == 0 and free_bytes(folder) > 1 << 20:
                return "no inodes are left: the disk holds too many files"
    return why


def free_bytes(path: str | Path) -> int:
    """Free space of the disk that holds a path.

    Args:
        path: an existing or future path.
    Returns:
        Bytes.
    """
    return shutil.disk_usage(_existing(path)).free


def _existing(path: str | Path) -> Path:
    """The nearest folder above a path, or the path itself, that exists."""
    folder = Path(path).resolve()
    while not folder.exists():
        folder = folder.parent
    return folder
