"""Runs are deleted only when nothing works on them, and never anything else."""

from pathlib import Path

import pytest

from workbench.records.lock import RunLock
from workbench.settings import SettingsError
from workbench.store import FileRefused
from workbench.workspace.folders import Workspace
from workbench.workspace.removing import remove


def _run(workspace: Workspace) -> Path:
    folder = workspace.runs / "mochi"
    folder.mkdir()
    (folder / "events.jsonl").touch()
    return folder


def test_a_run_goes_with_all_that_it_made(tmp_path: Path):
    workspace = Workspace(tmp_path)
    folder = _run(workspace)
    remove(workspace, "mochi")
    assert not folder.exists()
    with pytest.raises(SettingsError, match="no run 'mochi'"):
        remove(workspace, "mochi")


def test_a_run_at_work_stays(tmp_path: Path):
    workspace = Workspace(tmp_path)
    folder = _run(workspace)
    with RunLock(folder), pytest.raises(SettingsError, match="stop it first"):
        remove(workspace, "mochi")
    assert folder.exists()


@pytest.mark.parametrize("name", ["../models", "..", "", "/etc", "mochi/../../data"])
def test_nothing_else_can_be_named(tmp_path: Path, name: str):
    workspace = Workspace(tmp_path)
    _run(workspace)
    assert workspace.models.exists() and workspace.data.exists()
    with pytest.raises(FileRefused):
        remove(workspace, name)
    assert workspace.models.exists() and workspace.data.exists()
