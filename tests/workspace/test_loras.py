"""LoRA files are found by keys, which lead nowhere else; what is uploaded is looked at first."""

from pathlib import Path

import pytest
import torch

from workbench import store
from workbench.store import FileRefused
from workbench.workspace.folders import Workspace
from workbench.workspace.loras import checkpoints, find, keep, sources


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "workspace")
    folder = workspace.runs / "mochi"
    (folder / "lora").mkdir(parents=True)
    (folder / "recipe.toml").write_text("name = 'mochi'")
    for name in ("mochi-step000040", "mochi"):
        lora(folder / "lora" / f"{name}.safetensors")
    (workspace.runs / "empty").mkdir()
    return workspace


def lora(path: Path) -> Path:
    store.save_tensors(path, {"x": torch.zeros(2)})
    return path


def test_runs_come_first_then_their_files_then_what_was_uploaded(workspace, tmp_path):
    kept = keep(workspace, lora(tmp_path / "upload"), "mine.safetensors")
    keys = [one.key for one in sources(workspace)]
    assert keys[0] == "run/mochi" and keys[-1] == kept.key == "own/mine.safetensors"
    assert set(keys[1:-1]) == {
        "file/mochi/mochi.safetensors",
        "file/mochi/mochi-step000040.safetensors",
    }
    assert [find(workspace, key).path.exists() for key in keys] == [True] * 4
    assert len(checkpoints(workspace.runs / "mochi")) == 2


@pytest.mark.parametrize(
    "key", ["run/../../etc", "file/mochi/../recipe.toml", "own/../x", "run/gone", "x/mochi", ""]
)
def test_a_key_leads_nowhere_else(workspace, key):
    with pytest.raises(FileRefused):
        find(workspace, key)


def test_an_upload_must_be_sound_and_well_named(workspace, tmp_path):
    (tmp_path / "bad").write_bytes(b"no tensors")
    with pytest.raises(FileRefused):
        keep(workspace, tmp_path / "bad", "bad.safetensors")
    page = tmp_path / "page"
    page.write_bytes(b"<!doctype html><html>login</html>")
    with pytest.raises(FileRefused, match="a web page"):
        keep(workspace, page, "page.safetensors")
    with pytest.raises(FileRefused, match=r"must end in \.safetensors"):
        keep(workspace, lora(tmp_path / "good"), "good.ckpt")
    with pytest.raises(FileRefused, match=r"\.\."):
        keep(workspace, tmp_path / "good", "../good.safetensors")
    assert not list((workspace.models / "loras").glob("*")) if workspace.models.exists() else True
