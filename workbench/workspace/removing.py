"""Runs that are no longer wanted."""

import shutil

from workbench.records.lock import holder
from workbench.settings import SettingsError
from workbench.workspace import jobs
from workbench.workspace.folders import Workspace


def remove(workspace: Workspace, run: str) -> None:
    """Delete a run with all that it made.

    Args:
        workspace: where.
        run: name of the run.
    Raises:
        FileRefused: the name leads out of the workspace.
        SettingsError: there is no such run, or it works or waits.
    """
    folder = workspace.inside("runs", run)
    owner = holder(folder)
    at_work = owner is not None and owner.alive
    if at_work or any(job.folder == folder for job in jobs.active(workspace.queue)):
        raise SettingsError(f"{run} must not be deleted while it works or waits; stop it first")
    if not folder.is_dir():
        raise SettingsError(f"there is no run {run!r} in {workspace.runs}")
    shutil.rmtree(folder)
