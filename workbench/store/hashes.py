"""SHA-256 of files, remembered so that a 7 GB base is not read twice."""

import contextlib
import functools
import hashlib
import os
import sqlite3
import threading
from pathlib import Path

from workbench.store.files import FileRefused, cache_home


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
    except OSError:
        raise FileRefused(f"{path}: no such file") from None
    key = (os.fsencode(resolved), status.st_size, status.st_mtime_ns)
    database = _hash_database(cache_home())
    with _HASH_LOCK:
        row = database.execute(
            "select sha256 from hashes where path = ? and size = ? and mtime_ns = ?", key
        ).fetchone()
    if row:
        return row[0]
    with open(resolved, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A locked or read-only memo costs time and never the answer.
    with _HASH_LOCK, contextlib.suppress(sqlite3.OperationalError):
        database.execute("insert or replace into hashes values (?, ?, ?, ?)", (*key, digest))
    return digest


_HASH_LOCK = threading.Lock()


@functools.cache
def _hash_database(home: Path) -> sqlite3.Connection:
    """The memo; in memory where the cache folder cannot be written."""
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
