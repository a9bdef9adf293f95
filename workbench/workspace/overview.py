"""Every run of a workspace and how it stands, those included that have yet to begin."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.records import history, log
from workbench.records.history import Summary
from workbench.records.lock import holder
from workbench.workspace import causes, jobs
from workbench.workspace.folders import Workspace
from workbench.workspace.jobs import Job

State = Literal["queued", "starting", "finishing"] | history.State
_ENDS = ("finished", "stopped", "failed")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run stands.

    Attributes:
        state: "queued" while others are before it, "starting" until its trainer has taken the
            run's lock, then as `records.history` tells it. "finishing" after its last step while
            its process lives: the report is not there yet, and the device is not free.
        summary: what its events say.
        cause: why it failed, crashed, was stopped, waits, or gives no sign of life; "" when all is
            well.
        position: its place among the queued, from 1; None where it is not queued.
        job: what a worker does or did for it; None where it was trained by hand.
    """

    state: State
    summary: Summary
    cause: str = ""
    position: int | None = None
    job: Job | None = None

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.summary.folder.name


def overview(workspace: Workspace) -> list[Standing]:
    """List the runs: those that work or wait in their order, then the latest started first.

    Args:
        workspace: where.
    Returns:
        How each stands. Runs that ended are read once, so that a poll stays cheap.
    """
    active = jobs.active(workspace.queue)
    at_work, queued = [], 0
    for job in sorted(active, key=lambda job: job.state == "queued"):
        queued += job.state == "queued"
        at_work.append(_at_work(job, position=queued if job.state == "queued" else None))
    known = {standing.summary.folder for standing in at_work}
    return at_work + [one for one in standings(workspace.runs) if one.summary.folder not in known]


def standings(folder: str | Path) -> list[Standing]:
    """List the runs in a folder, the latest started first, whoever trained them.

    Args:
        folder: of run folders.
    Returns:
        How each stands; none where the folder is missing.
    """
    found = [_begun(path.parent) for path in Path(folder).glob(f"*/{log.FILE_NAME}")]
    return sorted(found, key=lambda one: (-(one.summary.started or 0.0), one.summary.name))


def _at_work(job: Job, *, position: int | None) -> Standing:
    summary = history.summary(job.folder)
    if job.state == "queued":
        return Standing("queued", summary, position=position, job=job)
    if job.state == "running" and _is_starting(job):
        return Standing("starting", summary, job=job)
    state = "finishing" if summary.state in _ENDS else summary.state
    return Standing(state, summary, causes.why(job.folder), job=job)


def _is_starting(job: Job) -> bool:
    """Whether the trainer is still loading its libraries: no lock yet, and no event of its own."""
    owner = holder(job.folder)
    alive = owner is not None and owner.alive
    return not alive and not log.read(job.folder, after=job.seq)


def _begun(folder: Path) -> Standing:
    """A run that no worker has in hand; one that is trained by hand may still work."""
    owner = holder(folder)
    if owner is not None and owner.alive:
        summary = history.summary(folder)
        state = "finishing" if summary.state in _ENDS else summary.state
        return Standing(state, summary, summary.cause)
    stamps = [_stamp(folder / name) for name in (log.FILE_NAME, jobs.ENDED, causes.LOG)]
    return _read(folder, (*stamps, owner is None))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=4096)
def _read(folder: Path, stamps: tuple[object, ...]) -> Standing:
    """Read a run that nobody writes to; `stamps` make it be read again once it has changed."""
    summary = history.summary(folder)
    return Standing(summary.state, summary, causes.why(folder), job=jobs.ended(folder))
