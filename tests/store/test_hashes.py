"""The memo of hashes: right first, quick second."""

import hashlib
import os
import sqlite3
import subprocess
import sys

import pytest

from workbench import store
from workbench.store import hashes

OLD_NS = 1_700_000_000_000_000_000


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache"


def settled(path, content, mtime_ns=OLD_NS):
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_remembered_by_size_and_time_and_recomputed_when_either_changes(tmp_path, home):
    path = settled(tmp_path / "a", b"fox")
    assert store.file_hash(path) == sha256(b"fox")
    settled(path, b"cat")  # same size, same time: the memo answers
    assert store.file_hash(path) == sha256(b"fox")
    settled(path, b"cat", OLD_NS + 1)
    assert store.file_hash(path) == sha256(b"cat")
    settled(path, b"bird", OLD_NS + 1)
    assert store.file_hash(path) == sha256(b"bird")


def test_file_written_just_now_is_hashed_anew(tmp_path, home):
    path = tmp_path / "a"
    path.write_bytes(b"fox")
    status = path.stat()
    assert store.file_hash(path) == sha256(b"fox")
    settled(path, b"cat", status.st_mtime_ns)
    assert store.file_hash(path) == sha256(b"cat")


def test_memo_is_shared_by_processes(tmp_path, home):
    path = settled(tmp_path / "a", b"fox")
    script = "import sys; from workbench import store; print(store.file_hash(sys.argv[1]))"
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == sha256(b"fox")
    settled(path, b"cat")
    assert store.file_hash(path) == sha256(b"fox")


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
