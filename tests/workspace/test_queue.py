"""What is asked for: checked, written down once, taken back."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.recipe import Recipe
from workbench.records import history
from workbench.records.events import Finished, Reported, Started
from workbench.records.lock import RunLock, process
from workbench.records.log import EventLog
from workbench.settings import SettingsError
from workbench.store import FileRefused
from workbench.workspace import device
from workbench.workspace import jobs as files
from workbench.workspace.folders import Workspace
from workbench.workspace.jobs import Budget
from workbench.workspace.overview import overview
from workbench.workspace.queue import cancel, enqueue, jobs, resume


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.preset("critters").override(["name=mochi"])


def finished(folder: Path) -> None:
    """Let a queued run have been trained."""
    with EventLog(folder) as log:
        log.append(Started(run=folder.name, recipe_hash="0", total_steps=3))
        log.append(Finished(step=3))


def test_a_queued_run_has_its_recipe_and_its_place(workspace: Workspace, recipe: Recipe):
    first = enqueue(workspace, recipe, budget=Budget(minutes=3))
    second = enqueue(workspace, recipe.override(["training.seed=1"]))
    assert jobs(workspace) == [first, second]
    assert (first.run, second.run) == ("mochi", "mochi-2")
    assert Recipe.load(first.folder / "recipe.toml") == workspace.settle(recipe)
    assert first.budget.seconds == 180
    assert [(one.name, one.state, one.position) for one in overview(workspace)] == [
        ("mochi", "queued", 1),
        ("mochi-2", "queued", 2),
    ]


def test_asking_twice_is_asking_once_also_at_the_same_moment(workspace: Workspace, recipe: Recipe):
    enqueue(workspace, recipe.override(["name=warm"]))
    with ThreadPoolExecutor(8) as pool:
        asked = list(pool.map(lambda _: enqueue(workspace, recipe), range(8)))
    assert len({job.id for job in asked}) == 1
    assert sorted(path.name for path in workspace.runs.iterdir()) == ["mochi", "warm"]


def test_a_refused_recipe_leaves_nothing(workspace: Workspace, recipe: Recipe):
    bad = recipe.override(["optimizer.kind=prodigy", "optimizer.learning_rate=0.0001"])
    with pytest.raises(SettingsError):
        enqueue(workspace, bad)
    with pytest.raises(SettingsError, match="workspace"):
        enqueue(workspace, recipe.override(["output.folder=/tmp/elsewhere"]))
    assert jobs(workspace) == []
    assert list(workspace.runs.iterdir()) == []


def test_a_queued_job_is_taken_back_without_a_trace(workspace: Workspace, recipe: Recipe):
    job = enqueue(workspace, recipe)
    cancel(job)
    cancel(job)
    assert jobs(workspace) == []
    assert not job.folder.exists()
    assert enqueue(workspace, recipe).run == "mochi"


def test_a_resume_is_checked_before_it_is_queued(workspace: Workspace, recipe: Recipe):
    job = enqueue(workspace, recipe)
    files.put(replace(job, state="ended"))
    finished(job.folder)
    for name, overrides, said in (
        ("mochi", (), "already complete"),
        ("mochi", ("training.seed=9",), "seed"),
        ("mochi", ("nonsense=1",), "nonsense"),
        ("nobody", (), "no run folder"),
        ("../../.ssh", (), "runs/"),
    ):
        with pytest.raises((SettingsError, FileRefused), match=said):
            resume(workspace, name, overrides)
    assert jobs(workspace) == []
    more = resume(workspace, "mochi", ["length.steps=+500"], budget=Budget(minutes=1))
    assert resume(workspace, "mochi", ["length.steps=+500"]) == more
    assert (more.kind, more.overrides) == ("resume", ("length.steps=+500",))
    cancel(more)
    assert history.state(job.folder) == "finished", "the run stays, only the job is gone"


def test_a_run_is_resumed_while_its_stopped_process_still_goes(
    workspace: Workspace, recipe: Recipe
):
    first = enqueue(workspace, recipe)
    with EventLog(first.folder) as log:
        log.append(Started(run=first.run, recipe_hash="0", total_steps=3))
    files.put(replace(first, state="running", child=process(os.getpid())))
    assert resume(workspace, "mochi").id == first.id  # it trains
    with EventLog(first.folder) as log:
        log.append(Finished(step=1, reason="stopped"))
    again = resume(workspace, "mochi")
    assert (again.kind, again.state) == ("resume", "queued") and again.id != first.id
    assert resume(workspace, "mochi").id == again.id, "pressed twice"


def test_a_run_that_is_trained_by_hand_is_not_resumed(workspace: Workspace, recipe: Recipe):
    job = enqueue(workspace, recipe)
    files.put(replace(job, state="ended"))
    with RunLock(job.folder), pytest.raises(SettingsError, match="is being trained by process"):
        resume(workspace, "mochi", ["length.steps=+500"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 0},
        {"minutes": float("nan")},
        {"money": -1, "price_per_hour": 1},
        {"money": 2},
        {"price_per_hour": float("inf")},
    ],
    ids=str,
)
def test_budgets_that_mean_nothing_are_refused(wrong: dict[str, float]):
    with pytest.raises(SettingsError, match="budget"):
        Budget(**wrong)


def test_the_first_limit_of_a_budget_counts():
    assert Budget().seconds is None
    assert Budget(minutes=10, money=1, price_per_hour=12).seconds == 300
    assert Budget(minutes=2, money=1, price_per_hour=12).seconds == 120
    assert Budget(price_per_hour=3.6).cost(1000) == pytest.approx(1.0)
    assert Budget(minutes=1).cost(1000) is None


def test_a_job_file_that_was_altered_is_named(workspace: Workspace, recipe: Recipe):
    enqueue(workspace, recipe)
    (path,) = workspace.queue.glob("*.job.json")
    path.write_text("{")
    with pytest.raises(FileRefused, match=path.name):
        jobs(workspace)


@pytest.mark.skipif(sys.platform == "win32", reason="process ids")
def test_the_device_is_lent_to_one_page_while_no_training_works(
    workspace: Workspace, recipe: Recipe
):
    job = enqueue(workspace, recipe)
    with device.borrowed(workspace):
        assert device.lent(workspace)
        with pytest.raises(SettingsError, match="another page"), device.borrowed(workspace):
            pass
    assert not device.lent(workspace)
    files.put(replace(job, state="running", child=process(os.getpid())))
    with pytest.raises(SettingsError, match="training mochi"), device.borrowed(workspace):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="process ids")
@pytest.mark.parametrize("reason", ["complete", "stopped"])
def test_finished_means_that_the_device_is_free(workspace: Workspace, recipe: Recipe, reason: str):
    """After its last step a trainer still proves, draws and reports, and holds the device."""
    job = enqueue(workspace, recipe)
    files.put(replace(job, state="running", child=process(os.getpid())))
    with EventLog(job.folder) as log:
        log.append(Started(run=job.run, recipe_hash="0", total_steps=3))
        log.append(Finished(step=3, reason=reason))
        assert [one.state for one in overview(workspace)] == ["finishing"]
        with pytest.raises(device.DeviceBusy, match="training mochi"), device.borrowed(workspace):
            pass
        log.append(Reported(path="report.html", verdict="It learned."))
    assert [one.state for one in overview(workspace)] == ["finishing"]
    files.put(replace(job, state="ended", exit_code=0))
    (now,) = overview(workspace)
    assert (now.state, now.summary.verdict) == (
        "finished" if reason == "complete" else "stopped",
        "It learned.",
    )
    with device.borrowed(workspace):
        pass


def test_a_run_by_hand_is_finished_when_its_process_lets_go(workspace: Workspace):
    folder = workspace.runs / "by-hand"
    with RunLock(folder):
        finished(folder)
        assert [one.state for one in overview(workspace)] == ["finishing"]
    assert [one.state for one in overview(workspace)] == ["finished"]
