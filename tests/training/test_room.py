"""A disk that is full, over its quota, read-only or gone: what waits, and what is left out."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench import store
from workbench.launch import resume
from workbench.records import checkpoint, history, log
from workbench.records.checkpoint import DiskFull
from workbench.training import moments, room
from workbench.training.run import Run

ROOM = ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "ENOTCONN")


@pytest.fixture
def slept(monkeypatch) -> list[float]:
    naps: list[float] = []
    monkeypatch.setattr(room.time, "sleep", naps.append)
    return naps


def waiting(tmp_path: Path, write, *, ending=lambda: False):
    run = SimpleNamespace(folder=tmp_path, step=5)
    found = room.with_room(run, write, ending=ending)
    told = []
    while True:
        try:
            told.append(next(found))
        except StopIteration as end:
            return told, end.value


def failing(times: int, error: OSError, result: Path):
    left = [error] * times

    def write() -> Path:
        if left:
            raise left.pop()
        return result

    return write


@pytest.mark.parametrize("name", ROOM)
def test_a_disk_that_takes_nothing_is_waited_for(tmp_path, slept, name):
    error = OSError(getattr(errno, name), "no", str(tmp_path / "x"))
    told, path = waiting(tmp_path, failing(1, error, tmp_path / "x"))
    assert [event.event for event in told] == ["warned", "paused", "continued"]
    assert path == tmp_path / "x" and told[1].reason == "disk full"
    assert slept == [2.0]


def test_it_is_said_once_and_looked_at_less_and_less_often(tmp_path, slept):
    error = DiskFull(tmp_path / "step-000005", needed_bytes=10, free_bytes=1000)
    told, _ = waiting(tmp_path, failing(6, error, tmp_path))
    assert [event.event for event in told] == ["warned", "paused", "continued"]
    assert "quota" in told[0].message and "10 bytes" in told[0].message
    assert sum(slept) == 2 + 4 + 8 + 16 + 30 + 30


def test_other_errors_are_not_waited_out(tmp_path, slept):
    with pytest.raises(IsADirectoryError):
        waiting(tmp_path, failing(1, IsADirectoryError(errno.EISDIR, "no"), tmp_path))
    assert slept == []


def test_a_run_told_to_end_while_it_waits_says_what_is_not_saved(tmp_path, slept):
    error = DiskFull(tmp_path / "step-000005", needed_bytes=10, free_bytes=1)
    told, path = waiting(tmp_path, failing(9, error, tmp_path), ending=lambda: True)
    assert path is None and slept == []
    assert [event.event for event in told] == ["warned", "paused", "warned"]
    assert "step 5 is not saved" in told[-1].message and "resume" in told[-1].fix


def test_missing_inodes_are_told_from_missing_bytes(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "no")
    assert store.no_room(full, tmp_path) == "the disk is full"
    disk = SimpleNamespace(f_favail=0, f_bavail=1 << 20, f_frsize=4096, f_blocks=1, f_bfree=1)
    monkeypatch.setattr(os, "statvfs", lambda path: disk)
    assert "no inodes are left" in (store.no_room(full, tmp_path / "not" / "there") or "")
    assert store.no_room(PermissionError(errno.EACCES, "no"), tmp_path) is None


class Disk:
    """Every write below a folder fails while `full`."""

    def __init__(self, monkeypatch) -> None:
        self.full, self.refused = False, 0
        replacing, write_tensors = store.files.replacing, store.tensors.write_tensors
        opened = log.open if hasattr(log, "open") else open

        def no(*args, **rest):
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device", str(args[0]))

        def guarded(real):
            return lambda *args, **rest: no(*args) if self.full else real(*args, **rest)

        monkeypatch.setattr(store.files, "replacing", guarded(replacing))
        monkeypatch.setattr(store.tensors, "replacing", guarded(replacing))
        monkeypatch.setattr(store, "write_tensors", guarded(write_tensors))

        class File:
            """An event file on that disk."""

            def __init__(file, path, mode, **rest) -> None:
                file.real = opened(path, mode, **rest)

            def __getattr__(file, name):
                return getattr(file.real, name)

            def write(file, data):
                return no(file.real.name) if self.full else file.real.write(data)

        def open_file(path, mode="r", **rest):
            return File(path, mode, **rest) if "a" in mode else opened(path, mode, **rest)

        monkeypatch.setattr(log, "open", open_file, raising=False)


def run_folder(recipe) -> Path:
    return Path(recipe.output.folder) / recipe.name


def test_a_full_disk_costs_pictures_and_files_on_the_way_and_no_step(recipe, monkeypatch):
    """Full from step 1 until the run has waited at its checkpoint: the same weights come out."""
    chosen = recipe(
        *("length.steps=6", "training.checkpoint_every=3", "training.lora_every=1"),
        *("sampling.every_steps=2", 'sampling.prompts=["zib"]', "sampling.steps=1"),
    )
    calm = Run(chosen, run_folder(chosen))
    list(calm.train())
    disk = Disk(monkeypatch)
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        disk.full = len(waits) < 3

    monkeypatch.setattr(room.time, "sleep", sleep)
    run, told = Run(chosen, run_folder(chosen).with_name("full")), []
    for event in run.train():
        told.append(event)
        if event.event == "progress" and event.step == 1:
            disk.full = True
    ids = [event.id for event in told if event.event == "warned"]
    assert {"lora-not-saved", "disk-full"} <= set(ids) and ids.count("disk-full") == 1
    assert disk.refused > 3
    assert told[-1].event in ("finished", "reported") and history.state(run.folder) == "finished"
    recorded = log.read(run.folder)
    assert recorded == told, "events that waited are all there, in order"
    one, other = (store.load_tensors(each.final_lora) for each in (calm, run))
    assert all(one[name].equal(other[name]) for name in one | other)


def test_pictures_that_find_no_room_are_left_out(recipe, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(moments, "save_pictures", full)
    chosen = recipe('sampling.prompts=["zib"]', "sampling.steps=1")
    told = list(Run(chosen, run_folder(chosen)).train())
    assert "samples-not-kept" in [event.id for event in told if event.event == "warned"]
    assert history.state(run_folder(chosen)) == "finished"


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_long(recipe):
    chosen = recipe()
    with pytest.raises(ValueError, match=r"cannot be written to \(.*choose another place"):
        next(Run(chosen, Path("/proc/no/such/run")).train())


def test_a_run_killed_before_its_first_checkpoint_begins_at_step_0(recipe):
    chosen = recipe("length.steps=4", "training.checkpoint_every=4")
    calm = Run(chosen, run_folder(chosen))
    list(calm.train())
    killed = Run(chosen, run_folder(chosen).with_name("killed"))
    told = killed.train()
    for event in told:
        if event.event == "progress" and event.step == 2:
            break
    killed._log = None  # as a kill leaves it: nothing is saved on the way out
    with pytest.raises(AssertionError):
        told.close()
    assert not list((killed.folder / "checkpoints").glob("step-*"))
    again = resume(killed.folder)
    events = list(again.train())
    begun = [event for event in events if event.event in ("resumed", "started")]
    assert [event.event for event in begun] == ["resumed", "started"] and begun[0].step == 0
    steps = [event.step for event in log.read(again.folder) if event.event == "progress"]
    assert steps == [1, 2, 3, 4], "those of before no longer count"
    one, other = (store.load_tensors(each.final_lora) for each in (calm, again))
    assert all(one[name].equal(other[name]) for name in one | other)


def test_a_checkpoint_that_was_there_and_is_gone_is_no_new_beginning(recipe):
    import shutil

    chosen = recipe()
    list(Run(chosen, run_folder(chosen)).train())
    shutil.rmtree(run_folder(chosen) / "checkpoints")
    with pytest.raises(checkpoint.CheckpointRefused, match="the checkpoint of step 4 is gone"):
        next(resume(run_folder(chosen), ["length.steps=+2"]).train())
