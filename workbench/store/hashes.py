"""SHA-256 of files, remembered so that a 7 GB base is not read twice.

Name, size, times and inode decide only whether a file is hashed anew, and so do bytes sampled from
it: where times were kept, or a share or a coarse clock has none to trust, content still tells.
"""

import contextlib
import functools
import hashlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import IO

from workbench.store.files import FileRefused, cache_home, shown, why_unreadable

_LOCK = threading.Lock()
# A file written later than this could change again within a clock's tick (FAT: 2 s) unseen.
_SETTLED_NS = 4_000_000_000
_SAMPLES, _SAMPLE_BYTES = 16, 4096
_COLUMNS = ("path", "size", "mtime_ns", "ctime_ns", "inode", "sample")
Key = tuple[bytes, int, int, int, int, bytes]


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, remembered while nothing about it hints at a change.

    Args:
        path: an existing file.
    Returns:
        64 hex digits.
    Raises:
        FileRefused: no such file.
    """
    resolved = Path(path).resolve()
    try:
        with open(resolved, "rb") as file:
            key = _key(resolved, file)
            if known := _recall(key):
                return known
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            unchanged = _key(resolved, file) == key  # nobody wrote to it meanwhile
    except OSError as error:
        raise FileRefused(f"{shown(path)}: {why_unreadable(error)}") from None
    if unchanged and _is_settled(key):
        _remember(key, digest)
    return digest


def _key(path: Path, file: IO[bytes]) -> Key:
    status = os.fstat(file.fileno())
    inode = status.st_ino & (1 << 63) - 1  # what sqlite holds
    size, sample = status.st_size, hashlib.sha256()
    last = max(0, size - _SAMPLE_BYTES)
    for start in sorted({last * place // (_SAMPLES - 1) for place in range(_SAMPLES)}):
        file.seek(start)
        sample.update(file.read(_SAMPLE_BYTES))
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return os.fsencode(path), size, *times, inode, sample.digest()


def _is_settled(key: Key) -> bool:
    """Whether the file lay still long enough; a time in the future never says so.

    POSIX sets the time of change by itself, whatever time of modification was written into a file;
    on Windows it is that of creation, and says nothing.
    """
    _, _, modified, changed, *_ = key
    latest = max(modified, changed) if os.name == "nt" else changed
    return time.time_ns() - latest > _SETTLED_NS


def _recall(key: Key) -> str | None:
    # A locked, damaged or read-only memo costs time and never the answer.
    with _LOCK, contextlib.suppress(sqlite3.Error):
        where = " and ".join(f"{column} = ?" for column in _COLUMNS)
        row = (
            _memo(cache_home(), os.getpid())
            .execute(f"select sha256 from contents where {where}", key)
            .fetchone()
        )
        return row[0] if row else None
    return None


def _remember(key: Key, digest: str) -> None:
    with _LOCK, contextlib.suppress(sqlite3.Error):
        _memo(cache_home(), os.getpid()).execute(
            f"insert or replace into contents values ({', '.join('?' * 7)})", (*key, digest)
        )


@functools.cache
def _memo(home: Path, process: int) -> sqlite3.Connection:
    """The memo; in memory where the cache folder cannot be written.

    A connection must not be used on the other side of a fork: hence one for each process.
    """
    create = (
        "create table if not exists contents (path blob primary key, size integer, "
        "mtime_ns integer, ctime_ns integer, inode integer, sample blob, sha256 text)"
    )
    try:
        home.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            home / "hashes.sqlite", check_same_thread=False, isolation_level=None
        )
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = off")
        database.execute(create)
    except (OSError, sqlite3.Error):
        database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        database.execute(create)
    return database
