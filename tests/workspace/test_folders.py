"""The workspace: one folder, and no name that leads out of it."""

import os
import sys
from pathlib import Path

import pytest

from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.store import FileRefused
from workbench.workspace.folders import PARTS, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_parts_are_made_when_asked_for(workspace: Workspace):
    assert not workspace.root.exists()
    assert [workspace.part(part).name for part in PARTS] == list(PARTS)
    assert sorted(path.name for path in workspace.root.iterdir()) == sorted(PARTS)
    with pytest.raises(ValueError, match="runs, data"):
        workspace.part("etc")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("../../.ssh", r"\.\."),
        ("cats/../../x", r"\.\."),
        ("/etc/passwd", "relative"),
        ("\\\\server\\share", "relative"),
        ("..\\x", "relative"),
        ("C:/x", "relative"),
        ("", "empty"),
        ("  ", "empty"),
        (".", r"\.\."),
        ("a//b", "empty pieces"),
        ("x\ny", "control characters"),
        ("x\x00y", "control characters"),
        ("x\udcffy", "no text"),
        ("x" * 256, "255 bytes"),
        ("ü" * 128, "255 bytes"),
        ("/".join(["x" * 200] * 6), "bytes"),
    ],
)
def test_names_that_lead_out_or_break_are_refused_with_the_rule(
    workspace: Workspace, name: str, rule: str
):
    with pytest.raises(FileRefused, match=rule) as refused:
        workspace.inside("runs", name)
    assert str(refused.value).isprintable()
    assert "runs/" in str(refused.value)


@pytest.mark.parametrize(
    "name", ["mochi", "cats/10_mochi/a b.png", "$(rm -rf x);'\".png", "ü" * 127]
)
def test_other_names_go_round_trip(workspace: Workspace, name: str):
    path = workspace.inside("data", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("here")
    assert path.relative_to(workspace.data).as_posix() == name
    assert workspace.inside("data", name).read_text() == "here"


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_links_that_lead_out_are_refused(workspace: Workspace, tmp_path: Path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").touch()
    os.symlink(tmp_path / "secret", workspace.data / "cats")
    for name in ("cats", "cats/key", "cats/new"):
        with pytest.raises(FileRefused, match="link"):
            workspace.inside("data", name)
    (workspace.data / "dogs").mkdir()
    os.symlink("dogs", workspace.data / "hounds")
    assert workspace.inside("data", "hounds") == workspace.data / "dogs"


@pytest.mark.skipif(sys.platform == "win32", reason="links")
def test_a_part_may_lie_on_another_disk(workspace: Workspace, tmp_path: Path):
    (tmp_path / "large").mkdir()
    workspace.root.mkdir()
    os.symlink(tmp_path / "large", workspace.root / "models")
    assert workspace.inside("models", "x") == tmp_path / "large" / "x"


def test_the_draft_comes_back_as_it_was(workspace: Workspace):
    assert workspace.load_draft() is None
    recipe = Recipe.preset("critters").override(["adapter.rank=7", "name=mine"])
    workspace.save_draft(recipe)
    back = workspace.load_draft()
    assert back is not None
    assert back == workspace.settle(recipe)
    assert back.output.folder == str(workspace.runs)
    (workspace.root / "draft.toml").write_text("nonsense = 3")
    with pytest.raises(SettingsError, match=r"draft\.toml"):
        workspace.load_draft()


def test_relative_paths_that_exist_here_hold_from_everywhere(workspace: Workspace):
    (workspace.data / "cats").mkdir()
    (workspace.models / "base").mkdir()
    recipe = Recipe.preset("critters").override(
        ["data.subsets.0.path=data/cats", "base.path=models/base"]
    )
    settled = workspace.settle(recipe)
    assert settled.data.subsets[0].path == str(workspace.data / "cats")
    assert settled.base.path == str(workspace.models / "base")
    assert settled.data.subsets[1:] == recipe.data.subsets[1:], "no path of ours: as it was"


@pytest.mark.parametrize("folder", ["/etc", "../elsewhere", "runs/../../x"])
def test_output_elsewhere_is_refused(workspace: Workspace, folder: str):
    recipe = Recipe.preset("critters").override([f"output.folder={folder}"])
    with pytest.raises(SettingsError, match=r"output\.folder must lie in the workspace"):
        workspace.settle(recipe)
