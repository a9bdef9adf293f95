"""What other systems do with files: names that they refuse, handles that they hold, files afar."""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = [
    "HELD_S", "is_far", "is_link", "patiently", "too_long", "try_longest_name", "unportable",
    "why_away",
]  # fmt: skip

Result = TypeVar("Result")

HELD_S = 10.0  # antivirus, sync clients and our own readers let go of a file within seconds
ANSWER_S = 20.0  # a sleeping disk of a network drive takes ten to wake
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.5
# Windows: access denied, sharing violation, lock violation, folder not empty (one in it is held).
_HELD = frozenset({5, 32, 33, 145})

# A drive that is gone, by the names that this system knows.
_AWAY = frozenset(
    getattr(errno, name)
    for name in ("ESTALE", "ENOTCONN", "EIO", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENODEV")
    if hasattr(errno, name)
)
# Windows: offline, recall on open, recall on data access. macOS: SF_DATALESS.
_FAR_ATTRIBUTES = 0x1000 | 0x40000 | 0x400000
_FAR_FLAG = 0x40000000
_JUNCTION = 0xA0000003  # IO_REPARSE_TAG_MOUNT_POINT; OneDrive's folders bear other tags

_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"}
)
_SIGNS = '<>:"|?*'  # refused where the system does: `a:b` would be a hidden stream of `a`
_WINDOWS = os.name == "nt"
_LONGEST_PATH = 259  # of Windows, unless its long paths are switched on
_TOO_LONG = frozenset({3, 206})  # Windows: path not found, file name or extension too long


def patiently(act: Callable[[], Result]) -> Result:
    """Rename or remove something that another program may hold open for a moment, as on Windows.

    Args:
        act: does it whole or not at all, and may be called again.
    Returns:
        What it returns.
    Raises:
        OSError: it is still held after 10 s, or anything else is wrong.
    """
    ends_at, pause_s = time.monotonic() + HELD_S, _FIRST_PAUSE_S
    while True:
        try:
            return act()
        except OSError as error:
            if getattr(error, "winerror", None) not in _HELD or time.monotonic() >= ends_at:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def why_away(path: str | os.PathLike[str]) -> str:
    """Ask whether a path's drive answers; one that hangs would hold the whole process for ever.

    Args:
        path: an existing path or none.
    Returns:
        Words that follow the path; "" where it answers, also that there is no such file.
    """
    answers: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            os.stat(path)
        except OSError as error:  # told to the thread that waits
            answers.put(error)
        else:
            answers.put(None)

    # A call into a mount that hangs cannot be ended, only left behind.
    threading.Thread(target=ask, name="asking a drive", daemon=True).start()
    try:
        error = answers.get(timeout=ANSWER_S)
    except queue.Empty:
        return f"has not answered for {ANSWER_S:g} s: its drive hangs; mount it again"
    if error is None or error.errno not in _AWAY:
        return ""
    return f"cannot be reached ({(error.strerror or str(error)).lower()}): mount its drive again"


def too_long(error: OSError, path: str | os.PathLike[str] | None = None) -> str:
    """Say that Windows refused a path for its length; its own words are "path not found".

    Args:
        error: what it raised.
        path: what was to be opened or made, where the error does not name it.
    Returns:
        Words that follow the system's own; "" where the length is not what is wrong.
    """
    named = os.path.abspath(os.fsdecode(error.filename or path or ""))
    if getattr(error, "winerror", None) not in _TOO_LONG or len(named) <= _LONGEST_PATH:
        return ""
    return (
        f"the path has {len(named)} characters and Windows takes {_LONGEST_PATH}: choose a shorter "
        "folder, or switch Windows' long paths on"
    )


def try_longest_name(folder: str | os.PathLike[str], length: int) -> None:
    """Find out on Windows, before any work, whether a folder leaves room for the names in it.

    Args:
        folder: an existing one.
        length: characters of the longest path below it that will be written.
    Raises:
        OSError: the system refuses such a path.
    """
    if not _WINDOWS:
        return
    path = os.path.join(os.path.abspath(folder), "x" * length)
    with open(path, "wb"):
        pass
    os.unlink(path)


def unportable(name: str) -> str:
    """Which rule a new file's name breaks, so that it would be lost or unreachable on Windows.

    Args:
        name: one name, or several with / between them.
    Returns:
        The rule, in words that follow "a name"; "" for a good one.
    """
    for piece in name.split("/"):
        stem = piece.partition(".")[0].rstrip(" ").lower()
        if stem in _DEVICES:
            return f"must not be {stem.upper()}, with or without an extension: Windows' devices are"
        if piece != piece.rstrip(". ") or piece.startswith(" "):
            return "must not begin with a space or end with a dot or space: Windows drops them"
        if _WINDOWS and (sign := next((letter for letter in piece if letter in _SIGNS), "")):
            return f"must not hold {sign}: Windows takes none of {' '.join(_SIGNS)}"
    return ""


def is_far(status: os.stat_result) -> bool:
    """Whether a file is a placeholder of OneDrive or iCloud, which reading would fetch.

    A file without blocks is no sign on Linux: small files, and those of network drives, have none.

    Args:
        status: of the file, which fetches nothing.
    Returns:
        True where its bytes lie elsewhere.
    """
    attributes = getattr(status, "st_file_attributes", 0)
    return bool(attributes & _FAR_ATTRIBUTES or getattr(status, "st_flags", 0) & _FAR_FLAG)


def is_link(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry of a folder leads elsewhere: a symbolic link, or a junction of Windows.

    Args:
        entry: of `os.scandir`.
    Returns:
        True for both; following them could run in circles.
    """
    if entry.is_symlink():
        return True
    if not entry.is_dir():  # spares a call for each file
        return False
    tag = getattr(entry.stat(follow_symlinks=False), "st_reparse_tag", 0)
    return tag == _JUNCTION
