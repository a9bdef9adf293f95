"""Checkpoints: what was saved is loaded, or the one before, whatever is damaged."""

import importlib.metadata
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from bitwise import same
from checkpoint_states import flip, names, save_steps, states

from workbench import store
from workbench.records import checkpoint
from workbench.records.checkpoint import (
    Bundle,
    CheckpointRefused,
    NoCheckpoint,
    newest_valid,
    save,
)


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
