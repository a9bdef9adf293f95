"""The one process of a workspace that trains what is queued, one job after the other."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace

from workbench.records import history, log
from workbench.records.control import Control
from workbench.records.events import Failed, Finished
from workbench.records.lock import RunLock, holder, one_at_a_time, process
from workbench.workspace import causes, device, jobs
from workbench.workspace.folders import Workspace
from workbench.workspace.hooks import Hooks, notify, run_command
from workbench.workspace.jobs import Job
from workbench.workspace.spawning import spawn
from workbench.workspace.stopping import Stopping

_TICK_S = 0.5
_NUM_LINES = 5

Say = Callable[[str], None]
Child = subprocess.Popen[bytes] | None


def work(workspace: Workspace, hooks: Hooks, *, say: Say) -> None:
    """Train what is queued until nothing is, then run the command for that: a worker's whole life.

    A trainer is a process of its own and survives this one; the next worker waits for its end.

    Args:
        workspace: whose queue.
        hooks: who is told.
        say: takes lines for the worker's log.
    Raises:
        RunLocked: the workspace has a worker.
    """
    lock = RunLock(workspace.queue)
    lock.acquire()
    stays = True  # nothing was done yet
    try:
        while (begun := _next(workspace, lock, say)) is not None:
            ended = _end(_watched(*begun, say), say)
            stays = _stopped_by_hand(ended)
            _tell(ended, hooks, say)
    finally:
        lock.release()
    # Who stopped the last run by hand sits before the machine and may want to look at it.
    if stays or jobs.active(workspace.queue):
        return
    if said := run_command(hooks):
        say(said)


def _next(workspace: Workspace, lock: RunLock, say: Say) -> tuple[Job, Child] | None:
    """Begin the next job, or find one whose worker died; None when nothing is left to do.

    The lock is given back in the same breath in which the queue is seen to be empty: who queues
    something later finds no worker, and starts one.
    """
    while True:
        with one_at_a_time(workspace.queue):
            todo = sorted(jobs.active(workspace.queue), key=lambda job: job.state == "queued")
            if not todo:
                lock.release()
                return None
            if todo[0].state != "queued":
                say(f"{todo[0].run}: found at work")
                return todo[0], None
            if not device.lent(workspace):
                if (begun := _begin(workspace, todo[0], say)) is not None:
                    return begun
                continue
        time.sleep(_TICK_S)


def _begin(workspace: Workspace, job: Job, say: Say) -> tuple[Job, Child] | None:
    """Start a job's trainer; None where it cannot be."""
    settings = [*job.overrides, *(["--accept-changes"] if job.accept else [])]
    recipe = job.folder / "recipe.toml"
    arguments = {
        "train": ["train", str(recipe), "--folder", str(job.folder)],
        "resume": ["resume", str(job.folder), *settings],
    }
    seen = log.read_milestones(job.folder)
    try:
        Control(job.folder).clear()
        with open(job.folder / causes.LOG, "ab") as output:
            output.write(
                f"\n{causes.MARK}{time.strftime('%Y-%m-%d %H:%M:%S')} {job.kind}\n".encode()
            )
            output.flush()
            child = spawn(arguments[job.kind], output, folder=workspace.root)
    except OSError as error:
        note = f"could not be started: {error.strerror} ({error.filename})"
        say(f"{job.run}: {note}")
        jobs.put(replace(job, state="ended", ended=time.time(), note=note))
        return None
    say(f"{job.run}: {job.kind} in process {child.pid}")
    job = replace(
        job,
        state="running",
        started=time.time(),
        child=process(child.pid),
        seq=seen[-1].seq if seen else 0,
    )
    return jobs.put(job), child


def _stopped_by_hand(job: Job) -> bool:
    """Whether somebody stopped a run, through the queue, its control folder or a signal."""
    return job.stop or (not job.note and history.state(job.folder) == "stopped")


def _watched(job: Job, child: Child, say: Say) -> Job:
    """Wait for a trainer's end; press for it when it was asked for or the budget is used up."""
    stopping: Stopping | None = None
    # From here on a clock that nobody sets: one that jumps must not use a budget up.
    before_s, since = job.seconds, time.monotonic()
    while _lives(job, child):
        job = jobs.again(job) or job
        spent_s = before_s + time.monotonic() - since
        used_up = job.budget.seconds is not None and spent_s >= job.budget.seconds
        if used_up and not job.note:
            job = _noted(job, f"its budget was used up ({job.budget.words})")
            say(f"{job.run}: {job.note}")
        if stopping is None and (used_up or job.stop):
            stopping = Stopping()
        if stopping is not None:
            stopping.press(job, forced=used_up)
    code = child.returncode if child is not None else None
    return replace(jobs.again(job) or job, state="ended", ended=time.time(), exit_code=code)


def _lives(job: Job, child: Child) -> bool:
    """Wait a moment, and say whether the trainer still works."""
    if child is None:
        time.sleep(_TICK_S)
        return job.alive
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_TICK_S)
    return child.returncode is None


def _noted(job: Job, note: str) -> Job:
    """Write down why a job is being stopped, beside what a face may write at the same time."""
    with one_at_a_time(job.folder.parents[1] / "queue"):
        return jobs.put(replace(jobs.again(job) or job, note=note))


def _end(job: Job, say: Say) -> Job:
    """Put a job away, and see to it that its run says what became of it."""
    while (other := holder(job.folder)) is not None and other.alive:
        time.sleep(_TICK_S)  # somebody else trains there: the device is not free
    Control(job.folder).clear()
    seen = log.read_milestones(job.folder)
    if not any(event.seq > job.seq for event in seen) and job.folder.is_dir():
        printed = "; ".join(causes.printed(job.folder)[-_NUM_LINES:])  # a mistake in each
        words = causes.last_words(job.folder) or printed or "it printed nothing"
        error = f"{causes.killed(job.exit_code)} before its first step: {words}"
        closing = Finished(step=0, reason="stopped") if job.note else Failed(error=error)
        job = replace(job, note=job.note or error)
        if not seen:  # the run is no queued one any more, and no face would show it
            with log.EventLog(job.folder) as file:
                file.append(closing)
    with one_at_a_time(job.folder.parents[1] / "queue"):
        jobs.put(job)
    state = history.state(job.folder)
    say(f"{job.run}: {state} after {job.seconds:.0f} s; {causes.why(job.folder) or 'all is well'}")
    return job


def _tell(job: Job, hooks: Hooks, say: Say) -> None:
    """Tell the webhook how a job ended; that it could not be told is said beside the run."""
    run = history.summary(job.folder)
    failure = notify(
        hooks,
        {
            "run": run.name,
            "state": run.state,
            "step": run.step,
            "total_steps": run.total_steps,
            "verdict": run.verdict,
            "cause": causes.why(job.folder),
            "seconds": round(job.seconds, 1),
            "cost": job.budget.cost(job.seconds),
        },
    )
    if not failure:
        return
    say(f"{job.run}: {failure}")
    jobs.put(replace(job, note="; ".join(filter(None, (job.note, failure)))))
