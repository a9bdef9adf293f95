"""The worker as a process of its own, with true trainers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_recipes import tiny_recipe, write_photos
from workspace_fakes import queued, until

import workbench
from workbench.records import history
from workbench.records.lock import holder
from workbench.workspace import jobs
from workbench.workspace.causes import printed, why
from workbench.workspace.device import borrowed
from workbench.workspace.folders import Workspace
from workbench.workspace.overview import overview
from workbench.workspace.queue import cancel, enqueue, resume
from workbench.workspace.spawning import LOG, ensure_worker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(workbench.__file__).parents[1])}

APP = """
import sys
from pathlib import Path
from workbench.workspace.folders import Workspace
from workbench.workspace.spawning import ensure_worker

workspace = Workspace(Path(sys.argv[1]))
print(ensure_worker(workspace), ensure_worker(workspace), flush=True)
input()
"""


def worker_log(workspace: Workspace) -> str:
    return (workspace.queue / LOG).read_text()


def test_nothing_to_do_starts_nothing(tmp_path: Path):
    workspace = Workspace(tmp_path)
    assert not ensure_worker(workspace)
    assert not (workspace.queue / LOG).exists()


def test_a_worker_is_a_process_that_outlives_the_app_and_ends_with_the_queue(tmp_path: Path):
    workspace = Workspace(tmp_path / "workspace")
    job = queued(workspace, "gone")
    shutil.rmtree(job.folder)  # so that no trainer need be loaded
    with borrowed(workspace):  # until then the worker waits
        app = subprocess.Popen(
            [sys.executable, "-c", APP, str(workspace.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        assert app.stdout is not None
        assert app.stdout.readline() == "True False\n", "the second asking finds the first's worker"
        worker = until(lambda: holder(workspace.queue), 60)
        os.killpg(app.pid, signal.SIGKILL)  # with all that it has not let go of
        app.wait()
        time.sleep(0.5)
        assert worker.alive
        assert not ensure_worker(workspace), "one is enough"
    until(lambda: holder(workspace.queue) is None, 60)
    until(lambda: not worker.alive)
    assert "gone: could not be started" in worker_log(workspace)
    assert jobs.active(workspace.queue) == []


@pytest.fixture
def base(tiny_sd: Path, tmp_path: Path):
    """A workspace and a recipe that does not end by itself; what still works is killed."""
    workspace = Workspace(tmp_path / "workspace")
    photos = write_photos(workspace.data / "photos")
    recipe = tiny_recipe(tiny_sd, photos, Path("runs"), "length.steps=20000", "output.report=false")
    yield workspace, recipe
    for folder in (*workspace.runs.iterdir(), workspace.queue):
        owner = holder(folder)
        if owner is not None and owner.alive:
            os.kill(owner.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_training_survives_app_and_worker_and_stops_and_goes_on(base):
    workspace, recipe = base
    job = enqueue(workspace, recipe)
    assert ensure_worker(workspace)
    until(lambda: history.summary(job.folder).step > 2, 400)
    worker = holder(workspace.queue)
    trainer = holder(job.folder)
    assert worker is not None
    assert trainer is not None
    assert enqueue(workspace, recipe).id == job.id, "one trainer"
    os.kill(worker.pid, signal.SIGKILL)
    step = history.summary(job.folder).step
    until(lambda: history.summary(job.folder).step > step + 2, 60)
    assert overview(workspace)[0].state == "running"
    until(lambda: ensure_worker(workspace), 60)  # one that fell over early is not replaced at once
    until(lambda: "found at work" in worker_log(workspace), 60)
    assert psutil.Process(trainer.pid).is_running()
    cancel(job)
    until(lambda: jobs.ended(job.folder), 60)
    assert history.state(job.folder) == "stopped"
    assert why(job.folder) == "stopped by hand"
    assert list((job.folder / "checkpoints").iterdir())

    stopped_at = history.summary(job.folder).step
    more = resume(workspace, job.run, [f"length.steps={stopped_at + 3}"], accept=True)

    def is_done() -> bool:
        ensure_worker(workspace)  # as a page does at every beat; the last worker may be ending
        done = jobs.ended(more.folder)
        return done is not None and done.id == more.id

    until(is_done, 180)
    assert history.state(job.folder) == "finished"
    assert history.summary(job.folder).step == stopped_at + 3


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_trainer_is_seen_within_ten_seconds(base):
    workspace, recipe = base
    job = enqueue(workspace, recipe)
    ensure_worker(workspace)
    until(lambda: history.summary(job.folder).step > 2, 400)
    trainer = holder(job.folder)
    assert trainer is not None
    os.kill(trainer.pid, signal.SIGKILL)
    since = time.monotonic()
    until(lambda: (now := overview(workspace)[0]).state == "crashed" and "SIGKILL" in now.cause)
    assert time.monotonic() - since < 10
    assert any("measuring the base" in line for line in printed(job.folder))
