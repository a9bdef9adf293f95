"""The memo of hashes: right first, quick second."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import time

import pytest

from workbench import store
from workbench.store import hashes

OLD_NS = 1_700_000_000_000_000_000
FUTURE_NS = 4_000_000_000_000_000_000


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache"


@pytest.fixture
def later(monkeypatch):
    """A minute has passed since anything was written."""
    now = time.time_ns
    monkeypatch.setattr(hashes.time, "time_ns", lambda: now() + 60 * 10**9)


@pytest.fixture
def readings(monkeypatch):
    """How often a whole file was hashed."""
    count, digest = [], hashlib.file_digest
    monkeypatch.setattr(hashes.hashlib, "file_digest", lambda *a: count.append(1) or digest(*a))
    return count


def settled(path, content, mtime_ns=OLD_NS):
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_file_that_lay_still_is_read_once(tmp_path, home, later, readings):
    path = settled(tmp_path / "a", b"fox")
    assert [store.file_hash(path) for _ in range(3)] == [sha256(b"fox")] * 3
    assert len(readings) == 1
    # A time in the future says nothing about when it was written.
    path = settled(tmp_path / "b", b"fox", FUTURE_NS)
    assert [store.file_hash(path) for _ in range(3)] == [sha256(b"fox")] * 3
    assert len(readings) == (2 if os.name == "posix" else 4)


@pytest.mark.parametrize("mtime_ns", [OLD_NS, OLD_NS + 1, FUTURE_NS])
@pytest.mark.parametrize("content", [b"cat", b"bird"])
@pytest.mark.parametrize("replaced", [False, True])
def test_whatever_was_kept_a_change_is_seen(tmp_path, home, later, *, mtime_ns, content, replaced):
    path = settled(tmp_path / "a", b"fox")
    assert store.file_hash(path) == sha256(b"fox")
    if replaced:
        os.replace(settled(tmp_path / "new", content, mtime_ns), path)
    else:
        settled(path, content, mtime_ns)
    assert store.file_hash(path) == sha256(content)


def test_without_times_and_inodes_bytes_tell(tmp_path, home, later, monkeypatch, readings):
    """A share whose clock knows no changes, and whose inodes are others at each look."""
    path = settled(tmp_path / "a", bytes(1 << 20))
    real, looks = os.fstat, iter(range(1000))

    def fstat(handle):
        fields = list(real(handle))
        fields[1] = inode()
        fields[7:10] = [1_700_000_000] * 3
        return os.stat_result(fields, {"st_mtime_ns": OLD_NS, "st_ctime_ns": OLD_NS})

    monkeypatch.setattr(hashes.os, "fstat", fstat)
    inode = lambda: 7  # noqa: E731
    first = store.file_hash(path)
    assert store.file_hash(path) == first == sha256(bytes(1 << 20)) and len(readings) == 1
    with open(path, "r+b") as file:
        file.seek((1 << 20) - 1)
        file.write(b"x")
    assert store.file_hash(path) == sha256(bytes((1 << 20) - 1) + b"x")
    inode = lambda: next(looks)  # noqa: E731
    assert {store.file_hash(path) for _ in range(3)} == {sha256(path.read_bytes())}


def test_file_written_just_now_is_hashed_anew(tmp_path, home, readings):
    path = tmp_path / "a"
    path.write_bytes(b"fox")
    assert store.file_hash(path) == store.file_hash(path) == sha256(b"fox")
    assert len(readings) == 2, "a clock of two seconds could hide the next change"


def test_memo_is_shared_by_processes(tmp_path, home, later, readings):
    path = settled(tmp_path / "a", b"fox")
    script = """
import sys, time
now = time.time_ns
time.time_ns = lambda: now() + 60 * 10**9
from workbench import store
print(store.file_hash(sys.argv[1]))
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == store.file_hash(path) == sha256(b"fox")
    assert readings == []


def test_locked_memo_costs_no_answer(tmp_path, home, monkeypatch):
    settled(tmp_path / "a", b"fox")
    store.file_hash(tmp_path / "a")
    other = sqlite3.connect(home / "hashes.sqlite", isolation_level=None)
    other.execute("begin exclusive")
    hashes._memo(home, os.getpid()).execute("pragma busy_timeout = 10")
    assert store.file_hash(settled(tmp_path / "b", b"cat")) == sha256(b"cat")
    other.close()


@pytest.mark.parametrize("damage", ["garbage", "a folder", "no folder can be made"])
def test_unusable_memo_costs_no_answer(tmp_path, home, damage):
    if damage == "no folder can be made":
        home.parent.write_bytes(b"a file in the way")
    else:
        home.mkdir(parents=True)
        memo = home / "hashes.sqlite"
        memo.mkdir() if damage == "a folder" else memo.write_bytes(b"garbage" * 999)
    path = settled(tmp_path / "a", b"fox")
    assert store.file_hash(path) == sha256(b"fox")
    assert store.file_hash(path) == sha256(b"fox")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_connection_is_not_shared_across_a_fork(tmp_path, home):
    path = settled(tmp_path / "a", b"fox")
    store.file_hash(path)
    parents = hashes._memo(home, os.getpid())
    child = os.fork()
    if child == 0:
        fresh = hashes._memo(home, os.getpid()) is not parents
        os._exit(0 if fresh and store.file_hash(path) == sha256(b"fox") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_odd_names_and_missing_files(tmp_path, home):
    path = settled(tmp_path / os.fsdecode(b"not-\xfftext\n'"), b"fox")
    assert store.file_hash(path) == store.file_hash(path) == sha256(b"fox")
    with pytest.raises(store.FileRefused, match="gone: no such file"):
        store.file_hash(tmp_path / "gone")
    with pytest.raises(store.FileRefused, match="cannot be read"):
        store.file_hash(tmp_path)
