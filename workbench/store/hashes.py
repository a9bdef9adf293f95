"""SHA-256 of files, remembered so that a 7 GB base is not read twice."""

import contextlib
import functools
import hashlib
import os
import sqlite3
import threading
import time
from pathlib import Path

from workbench.store.files import FileRefused, cache_home, shown, why_unreadable

_LOCK = threading.Lock()
_SETTLED_NS = 2_000_000_000


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time.

    Args:
        path: an existing file.
    Returns:
        64 hex digits.
    Raises:
        FileRefused: no such file.
    """
    resolved = Path(path).resolve()
    try:
        status = resolved.stat()
        key = (os.fsencode(resolved), status.st_size, status.st_mtime_ns)
        if known := _recall(key):
            return known
        with open(resolved, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileRefused(f"{shown(path)}: {why_unreadable(error)}") from None
    # A file written in this moment could change again within the clock's tick and look the same.
    if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
        _remember(key, digest)
    return digest


def _recall(key: tuple[bytes, int, int]) -> str | None:
    # A locked, damaged or read-only memo costs time and never the answer.
    with _LOCK, contextlib.suppress(sqlite3.Error):
        row = (
            _memo(cache_home(), os.getpid())
            .execute("select sha256 from hashes where path = ? and size = ? and mtime_ns = ?", key)
            .fetchone()
        )
        return row[0] if row else None
    return None


def _remember(key: tuple[bytes, int, int], digest: str) -> None:
    with _LOCK, contextlib.suppress(sqlite3.Error):
        _memo(cache_home(), os.getpid()).execute(
            "insert or replace into hashes values (?, ?, ?, ?)", (*key, digest)
        )


@functools.cache
def _memo(home: Path, process: int) -> sqlite3.Connection:
    """The memo; in memory where the cache folder cannot be written.

    A connection must not be used on the other side of a fork: hence one for each process.
    """
    create = (
        "create table if not exists hashes "
        "(path blob primary key, size integer, mtime_ns integer, sha256 text)"
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
