"""Checkpoints: what was saved is loaded, or the one before, whatever happens in between."""

import errno
import importlib.metadata
import json
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
from safetensors import SafetensorError

from workbench import store
from workbench.records import checkpoint
from workbench.records.checkpoint import (
    Bundle,
    CheckpointRefused,
    DiskFull,
    NoCheckpoint,
    newest_valid,
    save,
)


def states(step):
    """Small states that differ in every part from step to step."""
    return {
        "adapter": {"unet.a": torch.full((3, 2), float(step)), "unet.b": torch.tensor([step])},
        "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}, "lr": 0.1 / step},
        "cursor": {"step": step, "loss": float("nan")},
    }


def save_steps(folder, *steps, keep=2):
    for step in steps:
        save(folder, step, Bundle.pack(states(step)), recipe_hash="abc", keep=keep)


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def flip(path, position):
    """Flip one bit in the middle of a byte."""
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x10
    path.write_bytes(data)


def test_saved_is_loaded(tmp_path):
    save_steps(tmp_path, 1)
    loaded = newest_valid(tmp_path)
    assert (loaded.step, loaded.recipe_hash, loaded.warnings) == (1, "abc", ())
    assert loaded.path == tmp_path / "checkpoints" / "step-000001"
    assert loaded.versions["torch"] == importlib.metadata.version("torch")
    assert same(loaded.bundle.unpack(), states(1))


def test_files_are_safetensors_and_json_and_sealed(tmp_path):
    save_steps(tmp_path, 1)
    home = tmp_path / "checkpoints" / "step-000001"
    assert sorted(os.listdir(home)) == [
        "adapter.safetensors",
        "manifest.json",
        "optimizer.safetensors",
        "state.json",
    ]
    content = json.loads((home / "manifest.json").read_text())["content"]
    for name, written in content["files"].items():
        assert written == {
            "bytes": (home / name).stat().st_size,
            "sha256": store.file_hash(home / name),
        }
    assert content["recipe_hash"] == "abc"
    assert {"python", "torch", "safetensors"} <= content["versions"].keys()


def test_tensors_that_share_memory_are_saved_apart(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"w": whole, "again": whole, "row": whole[1], "turned": whole.T}
    save(tmp_path, 1, Bundle.pack({"adapter": state}), recipe_hash="")
    assert same(newest_valid(tmp_path).bundle.unpack()["adapter"], state)


@pytest.mark.parametrize("keep", [2, 3])
def test_oldest_are_removed_and_never_below_two(tmp_path, keep):
    save_steps(tmp_path, 1, 2, 3, 4, 5, keep=keep)
    assert names(tmp_path) == [f"step-00000{n}" for n in range(6 - keep, 6)]
    with pytest.raises(ValueError, match="keep must be >= 2, got 1"):
        save_steps(tmp_path, 6, keep=1)


def test_damaged_ones_do_not_count_when_pruning(tmp_path):
    save_steps(tmp_path, 1, 2)
    flip(tmp_path / "checkpoints/step-000002/adapter.safetensors", -1)
    save_steps(tmp_path, 3)
    assert names(tmp_path) == ["step-000001", "step-000002", "step-000003"]
    checkpoint._verified.clear()
    save_steps(tmp_path, 4)
    flip(tmp_path / "checkpoints/step-000004/adapter.safetensors", -1)
    assert newest_valid(tmp_path).step == 3


def test_saving_a_step_again_replaces_it(tmp_path):
    save_steps(tmp_path, 1, 2)
    save(tmp_path, 2, Bundle.pack(states(7)), recipe_hash="new")
    assert same(newest_valid(tmp_path).bundle.unpack(), states(7))
    assert names(tmp_path) == ["step-000001", "step-000002"]


# ------------------------------------------------------------------------------------- damage


def test_any_flipped_byte_is_noticed_and_the_one_before_is_loaded(tmp_path):
    save_steps(tmp_path, 1, 2)
    sizes = {p.name: p.stat().st_size for p in (tmp_path / "checkpoints/step-000002").iterdir()}
    rng = random.Random(0)
    for name, size in sizes.items():
        for position in {0, size - 1, *rng.sample(range(size), 5)}:
            run = tmp_path / "copy"
            shutil.copytree(tmp_path / "checkpoints", run / "checkpoints")
            flip(run / "checkpoints/step-000002" / name, position)
            loaded = newest_valid(run)
            assert same(loaded.bundle.unpack(), states(1)), (name, position)
            (warning,) = loaded.warnings
            assert "step-000002 is damaged" in warning
            assert "step-000002.bad" in warning
            assert names(run) == ["step-000001", "step-000002.bad"]
            shutil.rmtree(run)


@pytest.mark.parametrize(
    "name", ["adapter.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_missing_or_short_file_refuses_the_checkpoint_and_names_it(tmp_path, name):
    save_steps(tmp_path, 1, 2)
    newest = tmp_path / "checkpoints" / "step-000002" / name
    newest.unlink()
    loaded = newest_valid(tmp_path)
    assert loaded.step == 1
    assert name in loaded.warnings[0]
    oldest = tmp_path / "checkpoints" / "step-000001" / name
    oldest.write_bytes(oldest.read_bytes()[:-1])
    with pytest.raises(CheckpointRefused, match="no valid checkpoint"):
        newest_valid(tmp_path)


def test_all_invalid_is_refused_and_stays_refused(tmp_path):
    save_steps(tmp_path, 1, 2)
    for step in (1, 2):
        flip(tmp_path / f"checkpoints/step-00000{step}/state.json", 5)
    for _ in range(2):  # the second time all have been set aside
        with pytest.raises(CheckpointRefused, match=r"step-000002\.bad") as caught:
            newest_valid(tmp_path)
        assert not isinstance(caught.value, NoCheckpoint)


def test_looking_without_the_lock_renames_nothing(tmp_path):
    save_steps(tmp_path, 1, 2)
    flip(tmp_path / "checkpoints/step-000002/state.json", 5)
    before = names(tmp_path)
    assert "step-000002 is damaged" in newest_valid(tmp_path, read_only=True).warnings[0]
    flip(tmp_path / "checkpoints/step-000001/state.json", 5)
    with pytest.raises(CheckpointRefused, match="no valid") as caught:
        newest_valid(tmp_path, read_only=True)
    assert not isinstance(caught.value, NoCheckpoint)
    assert names(tmp_path) == before


def test_no_checkpoint_yet_is_told_from_damage(tmp_path):
    with pytest.raises(NoCheckpoint):
        newest_valid(tmp_path)
    (tmp_path / "checkpoints" / "step-000001.tmp").mkdir(parents=True)
    with pytest.raises(NoCheckpoint):
        newest_valid(tmp_path)


def test_evidence_of_two_damages_is_kept_apart(tmp_path):
    for _ in range(2):
        save_steps(tmp_path, 1, 2)
        flip(tmp_path / "checkpoints/step-000002/state.json", 5)
        newest_valid(tmp_path)
    assert names(tmp_path) == ["step-000001", "step-000002.bad", "step-000002.bad2"]


def test_disk_that_does_not_read_back_what_was_written(tmp_path, monkeypatch):
    save_steps(tmp_path, 1, 2)
    rename = os.rename

    def spoil(source, target):
        rename(source, target)
        if Path(target).name == "step-000003":
            flip(Path(target) / "adapter.safetensors", -1)

    monkeypatch.setattr(os, "rename", spoil)
    with pytest.raises(CheckpointRefused, match="does not read back"):
        save_steps(tmp_path, 3)
    assert names(tmp_path) == ["step-000001", "step-000002", "step-000003.bad"]


def test_other_library_versions_are_said(tmp_path, monkeypatch):
    save_steps(tmp_path, 1)
    now = {**checkpoint.versions(), "torch": "9"}
    monkeypatch.setattr(checkpoint, "versions", lambda: now)
    assert "resumed with 9" in newest_valid(tmp_path).warnings[0]


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


# ---------------------------------------------------------------------------------- optimizers


def adamw(groups):
    return torch.optim.AdamW(groups)


def prodigy(groups):
    from prodigyopt import Prodigy

    return Prodigy(
        [{**group, "lr": 1.0} for group in groups],
        safeguard_warmup=True,
        use_bias_correction=True,
        slice_p=11,
    )


def adamw8bit(groups):
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, min_8bit_size=16)


def lion8bit(groups):
    from bitsandbytes.optim import Lion8bit

    return Lion8bit(groups, min_8bit_size=16)


def adafactor(groups):
    from transformers import Adafactor

    return Adafactor(groups, scale_parameter=False, relative_step=False, warmup_init=False)


def trained(make, start, *, steps, state=None, first=0):
    """Train two groups of parameters with given gradients; a state is loaded before."""
    from diffusers.optimization import get_scheduler

    weights = [torch.nn.Parameter(value.clone()) for value in start]
    optimizer = make(
        [{"params": weights[:2], "lr": 1e-2}, {"params": weights[2:], "lr": 1e-3, "name": "te"}]
    )
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=2, num_training_steps=20)
    if state is not None:
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    for step in range(first, first + steps):
        noise = torch.Generator().manual_seed(step)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=noise)
        optimizer.step()
        schedule.step()
    state = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    return [weight.detach().clone() for weight in weights], state


@pytest.mark.parametrize("make", [adamw, prodigy, adamw8bit, lion8bit, adafactor])
def test_optimizer_goes_on_to_the_bit(tmp_path, make):
    noise = torch.Generator().manual_seed(0)
    start = [torch.randn(16, 32, generator=noise) for _ in range(3)] + [torch.ones(5)]
    half, state = trained(make, start, steps=4)
    save(tmp_path, 4, Bundle.pack(state), recipe_hash="")
    loaded = newest_valid(tmp_path).bundle.unpack()
    assert same(loaded, state)
    if make in (adamw8bit, lion8bit):
        nested = loaded["optimizer"]["state"][0]["__bnb_optimizer_quant_state__"]
        assert nested["state1"].dtype == torch.uint8
    resumed, end = trained(make, half, steps=4, state=loaded, first=4)
    straight, straight_end = trained(make, start, steps=8)
    assert same(resumed, straight)
    assert same(end, straight_end)


def test_scaler_goes_on(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=3.0)
    state = scaler.state_dict()
    save(tmp_path, 1, Bundle.pack({"scaler": state}), recipe_hash="")
    assert same(newest_valid(tmp_path).bundle.unpack()["scaler"], state)


def test_saving_costs_about_its_bytes(tmp_path):
    weights = {str(n): torch.randn(256, 1024) for n in range(8)}  # 8 MiB
    started = time.process_time()
    save(tmp_path, 1, Bundle.pack({"adapter": weights}), recipe_hash="")
    assert time.process_time() - started < 1.0
