"""How a face asks for a training: checked first, written down once, whoever asks and how often."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import store
from workbench.records import history
from workbench.records.control import Control
from workbench.records.lock import holder, one_at_a_time
from workbench.settings import SettingsError
from workbench.workspace import jobs as files
from workbench.workspace.folders import Workspace
from workbench.workspace.jobs import Budget, Job, Kind

if TYPE_CHECKING:  # it brings torch along, whose seconds a page should not wait for
    from workbench.recipe import Recipe


def enqueue(workspace: Workspace, recipe: "Recipe", *, budget: Budget | None = None) -> Job:
    """Queue a run; a worker (`worker.ensure_worker`) does it.

    Args:
        workspace: where.
        recipe: what to do.
        budget: when it has cost enough.
    Returns:
        The job; the one that is there already where the same recipe waits or is being trained, so
        that a second press of the button, or one in another tab, starts nothing.
    Raises:
        SettingsError: a rule of `workbench.checks` refuses it, or its output lies elsewhere.
    """
    from workbench import checks, launch

    recipe = workspace.settle(recipe)
    checks.require(recipe)
    with one_at_a_time(workspace.queue):
        wanted = recipe.hash()
        for job in jobs(workspace):
            if job.kind == "train" and job.recipe_hash == wanted:
                return job
        folder = launch.free_folder(workspace.runs / recipe.name)
        store.write_text(folder / "recipe.toml", recipe.to_toml())
        return _queue(workspace, folder, "train", recipe_hash=wanted, budget=budget or Budget())


def resume(
    workspace: Workspace,
    run: str,
    overrides: Sequence[str] = (),
    *,
    accept: bool = False,
    budget: Budget | None = None,
) -> Job:
    """Queue the continuation of a run, from its newest valid checkpoint.

    Args:
        workspace: where.
        run: name of the run folder.
        overrides: changes such as "length.steps=+500".
        accept: go on although a change makes the run compute something else than it began with.
        budget: when it has cost enough, counted from now.
    Returns:
        The job; the one that is there already where this run waits or is being trained.
    Raises:
        FileRefused: no such run.
        SettingsError: a change is unknown or must be accepted; the run is trained elsewhere, or is
            complete.
    """
    from workbench import launch

    folder = workspace.inside("runs", run)
    with one_at_a_time(workspace.queue):
        for job in jobs(workspace):
            if job.folder == folder and not _is_closing(job):
                return job
        wanted = launch.resume(folder, overrides, accept=accept).recipe.hash()
        _refuse_needless(folder, overrides)
        return _queue(
            workspace,
            folder,
            "resume",
            recipe_hash=wanted,
            overrides=tuple(overrides),
            accept=accept,
            budget=budget or Budget(),
        )


def _is_closing(job: Job) -> bool:
    """Whether a job has done its work, and only its process has not gone yet."""
    return job.state == "running" and history.state(job.folder) in ("stopped", "finished", "failed")


def jobs(workspace: Workspace) -> list[Job]:
    """What waits and what is being trained, in order.

    Args:
        workspace: where.
    Returns:
        Queued and running jobs; those that ended are known by their runs.
    """
    return [job for job in files.active(workspace.queue) if job.state != "ended"]


def cancel(job: Job) -> None:
    """Take a queued job back, or ask a running one to stop with everything saved.

    Args:
        job: of `enqueue`, `resume` or `jobs`; harmless when it has ended.
    """
    with one_at_a_time(job.folder.parents[1] / "queue"):
        now = files.again(job)
        if now is None:
            return
        if now.state == "running":
            files.put(replace(now, stop=True, note=now.note or "stopped by hand"))
            Control(now.folder).request("stop")  # the worker repeats it, should it be lost
            return
        files.drop(now)
        if now.kind == "train" and now.folder.is_dir():  # a recipe alone is no run
            (now.folder / "recipe.toml").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else was put there: it stays
                now.folder.rmdir()


def _queue(workspace: Workspace, folder: Path, kind: Kind, **more: object) -> Job:
    """Write a new job behind all others."""
    last = max((job.id for job in files.active(workspace.queue)), default=0)
    job = Job(id=max(time.time_ns(), last + 1), folder=folder, kind=kind, **more)  # pyright: ignore[reportArgumentType]
    return files.put(job)


def _refuse_needless(folder: Path, overrides: Sequence[str]) -> None:
    owner = holder(folder)
    if owner is not None and owner.alive:
        raise SettingsError(
            f"{folder.name} is being trained by process {owner.pid} already; wait until it ends"
        )
    if not overrides and history.state(folder) == "finished":
        raise SettingsError(f"{folder.name} is already complete; extend it with length.steps=+500")
