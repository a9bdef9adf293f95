"""Checkpoints on a full disk, and killed at each write, flush, rename and removal."""

import errno
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from bitwise import same
from checkpoint_states import names, save_steps, states
from safetensors import SafetensorError

from workbench import store
from workbench.records import checkpoint
from workbench.records.checkpoint import (
    Bundle,
    DiskFull,
    NoCheckpoint,
    newest_valid,
    save,
)

# ----------------------------------------------------------------------------------- full disk


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_like_safetensors(tensors, path, **_):
    Path(path).write_bytes(b"\0" * 100)
    raise SafetensorError("Error while serializing: I/O error: No space left (os error 28)")


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (os, "fsync", full),
        (safetensors.torch, "save_file", full_like_safetensors),
        (checkpoint, "_save_json", full),
    ],
    ids=["flush", "tensors", "json"],
)
def test_full_disk_leaves_the_earlier_ones_and_no_half(tmp_path, monkeypatch, owner, name, broken):
    save_steps(tmp_path, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        with pytest.raises(DiskFull) as caught:
            save_steps(tmp_path, 3)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.needed_bytes > 0
    assert names(tmp_path) == ["step-000001", "step-000002"]
    save_steps(tmp_path, 3)
    assert newest_valid(tmp_path).step == 3


def test_too_small_a_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    bundle = Bundle.pack({"adapter": {"w": torch.zeros(1_000_000)}})
    monkeypatch.setattr(store, "free_bytes", lambda path: 3_000_000)
    monkeypatch.setattr(checkpoint, "_write", None)
    with pytest.raises(DiskFull, match="3,000,000 are free") as caught:
        save(tmp_path, 1, bundle, recipe_hash="")
    assert caught.value.free_bytes == 3_000_000
    assert 4_000_000 < caught.value.needed_bytes < 4_200_000


def test_stated_size_covers_what_is_written(tmp_path):
    bundle = Bundle.pack(states(1))
    path = save(tmp_path, 1, bundle, recipe_hash="")
    written = sum(file.stat().st_size for file in path.iterdir())
    assert written <= checkpoint._size(bundle) < written + 100_000


# --------------------------------------------------------------------------------------- kills


class Killed(BaseException):
    """Stands for SIGKILL: no handler of ours may catch it."""


class Faults:
    """Counts every write, flush, rename and removal, and dies at one: before, midway or after."""

    def __init__(self, monkeypatch, *, at=None, moment="before"):
        self.trace: list[tuple[str, str]] = []
        self.at, self.moment = at, moment
        for owner, name in (
            (os, "fsync"),
            (os, "rename"),
            (shutil, "rmtree"),
            (safetensors.torch, "save_file"),
            (checkpoint, "_save_json"),
        ):
            monkeypatch.setattr(owner, name, self.wrap(name, getattr(owner, name)))

    def wrap(self, name, function):
        def faulty(*args, **kwargs):
            number = len(self.trace)
            target = args[1] if name in ("rename", "save_file") else args[0]
            self.trace.append((name, str(target)))
            if number != self.at:
                return function(*args, **kwargs)
            if self.moment == "midway":
                self.half(name, Path(str(target)))
            elif self.moment == "after":
                function(*args, **kwargs)
            raise Killed

        return faulty

    @staticmethod
    def half(name, target):
        if name in ("save_file", "_save_json"):
            target.write_bytes(b'{"content": {')
        elif name == "rmtree":
            sorted(target.iterdir())[0].unlink()


def scenario(folder, before):
    folder.mkdir()
    if before:
        save_steps(folder, *before)


@pytest.mark.parametrize("moment", ["before", "midway", "after"])
@pytest.mark.parametrize(
    ("before", "step"), [((), 1), ((1,), 2), ((1, 2), 3), ((1, 2), 2)], ids=str
)
def test_kill_at_each_write_flush_and_rename(tmp_path, monkeypatch, before, step, moment):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a kill loses nothing; it is slow
    scenario(tmp_path / "dry", before)
    new = Bundle.pack(states(9))
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch)
        save(tmp_path / "dry", step, new, recipe_hash="abc")
    assert len(faults.trace) >= 10
    for at in range(len(faults.trace)):
        folder = tmp_path / str(at)
        scenario(folder, before)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            Faults(patch, at=at, moment=moment)
            save(folder, step, new, recipe_hash="abc")
        try:
            loaded = newest_valid(folder)
            assert loaded.warnings == ()
            state = loaded.bundle.unpack()
            assert same(state, states(9)) or same(state, states(before[-1]))
        except NoCheckpoint:
            assert before == ()
        save(folder, step, new, recipe_hash="abc")
        assert same(newest_valid(folder).bundle.unpack(), states(9))
        assert not list((folder / "checkpoints").glob("*.tmp"))
        assert not list((folder / "checkpoints").glob("*.old"))


def test_everything_is_flushed_before_what_relies_on_it(tmp_path, monkeypatch):
    save_steps(tmp_path, 1, 2)
    order = []
    for owner, name, index in (
        (safetensors.torch, "save_file", 1),
        (checkpoint, "_save_json", 0),
        (store, "sync", 0),
        (store.tensors, "sync", 0),
        (os, "rename", 1),
        (checkpoint, "_fault", 0),
        (checkpoint, "_remove", 0),
    ):

        def note(*args, call=getattr(owner, name), name=name, index=index, **rest):
            order.append((name.strip("_"), Path(args[index]).name))
            return call(*args, **rest)

        monkeypatch.setattr(owner, name, note)
    save_steps(tmp_path, 3)
    # _save_json flushes by itself.
    assert order[: order.index(("remove", "step-000001")) + 1] == [
        ("save_file", "adapter.safetensors"),
        ("sync", "adapter.safetensors"),
        ("save_file", "optimizer.safetensors"),
        ("sync", "optimizer.safetensors"),
        ("save_json", "state.json"),
        ("save_json", "manifest.json"),
        ("sync", "step-000003.tmp"),
        ("rename", "step-000003"),
        ("sync", "checkpoints"),
        ("fault", "step-000003"),
        ("remove", "step-000001"),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks to be quick")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_sigkill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    rng = random.Random(0)
    save_steps(tmp_path, 1)
    step = 1
    for _ in range(12):
        child = os.fork()
        if child == 0:
            try:
                save_steps(tmp_path, *range(step + 1, step + 1000))
            finally:
                os._exit(1)
        while checkpoint._candidates(tmp_path / "checkpoints")[0].name <= f"step-{step:06d}.old":
            time.sleep(0.001)
        time.sleep(rng.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded = newest_valid(tmp_path)
        assert loaded.warnings == ()
        assert loaded.step > step
        assert same(loaded.bundle.unpack(), states(loaded.step))
        step = loaded.step
