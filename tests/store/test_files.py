"""Writes are whole or absent; text and JSON are read or refused by name."""

import os
import subprocess
import sys

import pytest

from workbench import store

ODD_NAMES = [
    "line\nbreak.json",
    "quote'\"`.json",
    "semi;$(touch x).json",
    "é日本🦊.json",
    "x" * 250 + ".json",
    os.fsdecode(b"not-\xfftext.json"),
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_any_file_name_round_trips(tmp_path, name):
    store.write_json(tmp_path / name, {"name": name})
    assert store.read_json(tmp_path / name) == {"name": name}
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_refusals_name_any_file_in_one_printable_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(store.FileRefused, match="not valid JSON") as caught:
        store.read_json(tmp_path / name)
    assert str(caught.value).isprintable()


def test_failure_before_the_rename_keeps_the_old_file_and_leaves_no_litter(tmp_path, monkeypatch):
    path = store.write_text(tmp_path / "a.txt", "old")

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        store.write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_kill_before_the_rename_keeps_the_old_file(tmp_path):
    path = store.write_text(tmp_path / "a.txt", "old")
    script = (
        "import os, sys; from workbench import store\n"
        "os.replace = lambda *names: os._exit(9)\n"
        "store.write_text(sys.argv[1], 'new')"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode == 9
    assert path.read_text() == "old"


def test_content_is_synced_before_the_rename_and_the_folder_after(tmp_path, monkeypatch):
    done = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), real_sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), real_replace(*names)))
    store.write_bytes(tmp_path / "new" / "a", b"x")
    assert done == ["sync", "rename", "sync"]


def test_mount_that_cannot_sync_folders_still_takes_files(tmp_path, monkeypatch):
    real = os.fsync

    def no_folders(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(22, "Invalid argument")
        real(handle)

    monkeypatch.setattr(os, "fsync", no_folders)
    assert store.write_bytes(tmp_path / "a", b"x").read_bytes() == b"x"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_without_nan(tmp_path, number):
    with pytest.raises(ValueError, match="JSON"):
        store.write_json(tmp_path / "a.json", [number])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content, rule",
    [
        (b"\xff\xfe\x41\x00", r"not UTF-8 text \(byte 0\); save it as UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b"1" * 5000, "not valid JSON"),
        (b"", "not valid JSON"),
    ],
    ids=["utf-16", "deep", "long number", "empty"],
)
def test_unreadable_json_is_refused_by_name(tmp_path, content, rule):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(store.FileRefused, match=rf"a\.json: {rule}"):
        store.read_json(tmp_path / "a.json")


def test_missing_file_and_folder_are_refused_by_name(tmp_path):
    with pytest.raises(store.FileRefused, match="gone: no such file"):
        store.read_text(tmp_path / "gone")
    with pytest.raises(store.FileRefused, match="cannot be read: is a directory"):
        store.read_text(tmp_path)


def test_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfred fox")
    assert store.read_text(tmp_path / "a.txt") == "red fox"


def test_free_bytes_of_a_folder_to_be(tmp_path):
    assert store.free_bytes(tmp_path / "not" / "yet") > 0


def test_cache_home_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    assert store.cache_home() == tmp_path / "cache"
    monkeypatch.delenv("WORKBENCH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_home() == tmp_path / "lora-workbench"


def test_halves_of_killed_processes_are_removed_and_no_others(tmp_path):
    """The name is that which a write gives; one of a process that lives may still be written."""
    (tmp_path / "lora").mkdir()
    with pytest.raises(KeyboardInterrupt), store.replacing(tmp_path / "lora" / "a") as half:
        name = half.name
        raise KeyboardInterrupt
    mark, _, thread = name.removeprefix(".").removesuffix(".tmp").split(".")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f".{mark}.{os.getppid()}.{thread}.tmp", "notes.tmp", ".mine.tmp"]
    for each in (f".{mark}.{dead.pid}.{thread}.tmp", name, *kept):
        (tmp_path / "lora" / each).write_bytes(b"half")
    store.clear_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path / "lora")) == sorted(kept)
