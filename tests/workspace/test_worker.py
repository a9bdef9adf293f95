"""The worker: one job after the other, whoever is killed, and an end that is told honestly."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import workspace_fakes
from workspace_fakes import fake_spawn, queued, until

from workbench.records import history
from workbench.records.control import Control
from workbench.records.lock import RunLock, RunLocked, holder
from workbench.workspace import jobs, stopping, worker
from workbench.workspace.causes import why
from workbench.workspace.folders import Workspace
from workbench.workspace.hooks import Hooks
from workbench.workspace.jobs import Budget, Job
from workbench.workspace.overview import overview
from workbench.workspace.queue import cancel
from workbench.workspace.queue import jobs as listed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A workspace in which no trainer outlives its test."""
    monkeypatch.setattr(worker, "spawn", fake_spawn)
    monkeypatch.setattr(worker, "_TICK_S", 0.05)
    workspace = Workspace(tmp_path / "workspace")
    yield workspace
    for owner in [holder(folder) for folder in (*workspace.runs.iterdir(), workspace.queue)]:
        if owner is not None and owner.alive and owner.pid != os.getpid():
            os.kill(owner.pid, signal.SIGKILL)


@pytest.fixture
def lines() -> list[str]:
    return []


def working(workspace: Workspace, lines: list[str], hooks: Hooks | None = None) -> threading.Thread:
    """Let a worker work in this process."""
    thread = threading.Thread(
        target=worker.work, args=(workspace, hooks or Hooks()), kwargs={"say": lines.append}
    )
    thread.start()
    return thread


def running(job: Job) -> Job:
    """Wait until a job's trainer has made its first step."""
    until(lambda: (job.folder / "events.jsonl").exists() and history.summary(job.folder).step > 0)
    now = jobs.again(job)
    assert now is not None
    return now


def test_jobs_are_done_in_order_and_one_at_a_time(workspace: Workspace, lines: list[str]):
    folders = [queued(workspace, f"short-{n}").folder for n in (2, 1)]
    working(workspace, lines).join()
    assert [history.state(folder) for folder in folders] == ["finished", "finished"]
    first, second = (jobs.ended(folder) for folder in folders)
    assert first is not None
    assert second is not None
    assert first.ended is not None
    assert second.started is not None
    assert first.ended <= second.started
    assert (first.exit_code, first.note, why(first.folder)) == (0, "", "")
    assert listed(workspace) == []
    assert holder(workspace.queue) is None


def test_a_killed_trainer_has_crashed_with_a_cause_at_once_and_the_next_job_goes_on(
    workspace: Workspace, lines: list[str]
):
    killed, after = queued(workspace, "long"), queued(workspace, "short")
    thread = working(workspace, lines)
    child = running(killed).child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    since = time.monotonic()
    until(lambda: history.state(killed.folder) == "crashed")
    until(lambda: "SIGKILL" in why(killed.folder))
    assert time.monotonic() - since < 10
    thread.join()
    assert history.state(after.folder) == "finished"
    standing = {one.name: one for one in overview(workspace)}["long"]
    assert standing.state == "crashed"
    assert "its process was killed (SIGKILL)" in standing.cause


def test_a_killed_worker_leaves_its_trainer_alone_and_the_next_one_waits_for_it(
    workspace: Workspace, lines: list[str]
):
    at_work, after = queued(workspace, "long"), queued(workspace, "short")
    command = [sys.executable, workspace_fakes.__file__, str(workspace.root)]
    first = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    child = running(at_work).child
    assert child is not None
    first.kill()
    first.wait()
    steps = history.summary(at_work.folder).step
    until(lambda: history.summary(at_work.folder).step > steps)
    assert listed(workspace)[0].state == "running", "also while no worker lives"

    thread = working(workspace, lines)
    until(lambda: any("found at work" in line for line in lines))
    assert psutil.Process(child.pid).is_running()
    assert jobs.again(after) == after, "the device has one owner"
    cancel(at_work)
    thread.join()
    assert history.state(at_work.folder) == "stopped"
    assert history.state(after.folder) == "finished"


def test_what_died_while_nobody_looked_has_ended(workspace: Workspace, lines: list[str]):
    job = queued(workspace, "long")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    other = worker.process(os.getpid())
    dead = replace(other, pid=process.pid, started="1")  # its id may have been given away since
    jobs.put(replace(job, state="running", started=time.time(), child=dead))
    assert listed(workspace) == []
    working(workspace, lines).join()
    ended = jobs.ended(job.folder)
    assert ended is not None
    assert ended.exit_code is None
    assert jobs.active(workspace.queue) == []


def test_a_second_worker_is_refused_and_a_dead_ones_lock_is_not(workspace: Workspace):
    with RunLock(workspace.queue), pytest.raises(RunLocked):
        worker.work(workspace, Hooks(), say=print)
    RunLock(workspace.queue)._create()  # half-written by a process that died at it
    os.utime(workspace.queue / "lock.json", (0, 0))
    worker.work(workspace, Hooks(), say=print)


def test_a_running_job_stops_when_asked_also_when_its_trainer_clears_the_first_asking(
    workspace: Workspace, lines: list[str]
):
    job = queued(workspace, "long")
    thread = working(workspace, lines)
    until(lambda: (now := jobs.again(job)) is not None and now.state == "running")
    cancel(job)  # before the trainer has come up: it clears what it finds
    Control(job.folder).clear()
    thread.join(20)
    assert not thread.is_alive()
    assert history.state(job.folder) in ("stopped", "crashed")
    assert "stopped by hand" in why(job.folder)


def test_a_trainer_that_prepares_is_stopped_by_a_signal(workspace: Workspace, lines: list[str]):
    job = queued(workspace, "preparing")
    thread = working(workspace, lines)
    until(lambda: (job.folder / "events.jsonl").exists())
    cancel(job)
    thread.join(20)
    ended = jobs.ended(job.folder)
    assert ended is not None
    assert ended.exit_code == 143
    assert ended.stop


@pytest.mark.parametrize(
    "budget", [Budget(minutes=0.02), Budget(money=0.01, price_per_hour=30.0)], ids=str
)
def test_a_budget_that_is_used_up_stops_the_run_and_says_why(
    workspace: Workspace, lines: list[str], budget: Budget
):
    assert budget.seconds == pytest.approx(1.2)
    job = queued(workspace, "long", budget=budget)
    working(workspace, lines).join()
    assert history.state(job.folder) == "stopped"
    assert "budget was used up" in why(job.folder)
    ended = jobs.ended(job.folder)
    assert ended is not None
    assert ended.seconds >= 1.2
    assert not ended.stop, "nobody stopped it by hand"


def test_a_trainer_that_does_not_hear_is_ended_by_force_when_its_budget_is_used_up(
    workspace: Workspace, lines: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stopping, "GRACE_S", 0.3)
    job = queued(workspace, "deaf")
    thread = working(workspace, lines)
    jobs.put(replace(running(job), budget=Budget(minutes=0.001)))
    thread.join()
    ended = jobs.ended(job.folder)
    assert ended is not None
    assert ended.exit_code == -signal.SIGTERM
    assert "SIGTERM" in why(job.folder)
    assert "budget" in why(job.folder)


def test_an_error_is_told_by_its_last_line(workspace: Workspace, lines: list[str]):
    job = queued(workspace, "broken")
    working(workspace, lines).join()
    assert history.state(job.folder) == "crashed"
    assert "RuntimeError: the dog ate the weights" in why(job.folder)
    assert "code 1" in why(job.folder)


def test_a_run_that_never_came_to_an_event_is_seen_to_have_failed(
    workspace: Workspace, lines: list[str]
):
    job = queued(workspace, "mistaken")
    working(workspace, lines).join()
    assert history.state(job.folder) == "failed"
    assert "learning_rate must be > 0, got -1" in why(job.folder)
    assert "learning_rate must be > 0, got -1" in overview(workspace)[0].cause


def test_a_refused_resume_leaves_the_run_as_it_was_and_says_why(
    workspace: Workspace, lines: list[str]
):
    first = queued(workspace, "short")
    working(workspace, lines).join()
    folder = first.folder.rename(first.folder.with_name("mistaken"))
    jobs.put(Job(id=2, folder=folder, kind="resume"))
    working(workspace, lines).join()
    assert history.state(folder) == "finished"
    assert "got -1" in why(folder)


def test_a_run_whose_folder_was_thrown_away_does_not_jam_the_queue(
    workspace: Workspace, lines: list[str]
):
    gone, after = queued(workspace, "short-1"), queued(workspace, "short-2")
    (gone.folder / "recipe.toml").unlink()
    gone.folder.rmdir()
    working(workspace, lines).join()
    assert history.state(after.folder) == "finished"
    assert not gone.folder.exists()
    assert any("could not be started" in line for line in lines)
