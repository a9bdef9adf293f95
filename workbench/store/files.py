"""Files that are written whole or not at all, and text that is read with a clear refusal."""

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # network mounts that cannot sync a folder; it is there
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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


def free_bytes(path: str | Path) -> int:
    """Free space of the disk that holds a path.

    Args:
        path: an existing or future path.
    Returns:
        Bytes.
    """
    folder = Path(path).resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
