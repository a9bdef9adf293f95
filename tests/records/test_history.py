"""History: the honest state of a run from its events and its lock."""

import json
import os
import time

import pytest

from workbench.records import history, lock
from workbench.records.events import (
    Continued,
    Failed,
    Finished,
    Paused,
    Preparing,
    Progress,
    Reported,
    Resumed,
    Saved,
    Started,
    Warned,
)
from workbench.records.history import runs, state, summary
from workbench.records.lock import RunLock
from workbench.records.log import EventLog, read_milestones

START = Started(run="mochi", recipe_hash="ab", total_steps=9)
STEPS = tuple(Progress(step=step, loss=1 / step) for step in (1, 2, 3))


def record(folder, *events):
    with EventLog(folder) as log:
        for event in events:
            log.append(event)


WORKING = [
    ((), "running"),
    ((START,), "running"),
    ((START, *STEPS), "running"),
    ((START, *STEPS, Paused(step=3)), "paused"),
    ((START, *STEPS, Paused(step=3), Warned(id="x", message="y")), "paused"),
    ((START, *STEPS, Paused(step=3), Continued(step=3)), "running"),
    ((START, *STEPS, Failed(error="x"), Resumed(step=2, total_steps=9)), "running"),
    ((START, *STEPS, Finished(step=3), Preparing(stage="x", done=0, total=1)), "running"),
]
ENDED = [
    ((START, *STEPS, Finished(step=3)), "finished"),
    ((START, *STEPS, Finished(step=3), Reported(path="report.html", verdict="ok")), "finished"),
    ((START, *STEPS, Finished(step=3, reason="stopped")), "stopped"),
    ((START, *STEPS, Finished(step=3, reason="terminated")), "stopped"),
    ((START, *STEPS, Finished(step=3, reason="left")), "stopped"),
    ((START, *STEPS, Failed(error="loss is NaN")), "failed"),
]


@pytest.mark.parametrize(("events", "expected"), WORKING)
def test_a_run_that_works_crashes_when_its_process_is_gone(tmp_path, events, expected):
    with RunLock(tmp_path):
        record(tmp_path, *events)
        assert state(tmp_path) == expected
    assert state(tmp_path) == "crashed"


@pytest.mark.parametrize(("events", "expected"), ENDED)
def test_a_run_that_ended_keeps_its_end(tmp_path, events, expected):
    record(tmp_path, *events)
    assert state(tmp_path) == expected


@pytest.mark.parametrize("end", [Finished(step=3), Failed(error="x"), Paused(step=3)])
def test_a_run_that_is_taken_up_again_runs_before_it_says_so(tmp_path, end):
    record(tmp_path, START, *STEPS, end)
    with RunLock(tmp_path):
        assert state(tmp_path) == "running"


def test_killed_trainer_is_named_with_its_last_step(tmp_path):
    record(tmp_path, START, *STEPS)
    (tmp_path / "lock.json").write_text(json.dumps({**lock._myself(), "started": "1"}))
    run = summary(tmp_path)
    assert run.state == "crashed"
    assert f"process {os.getpid()} ended without a word after step 3" in run.cause


def test_hung_trainer_is_seen_after_ten_seconds(tmp_path):
    record(tmp_path, START, *STEPS)
    with RunLock(tmp_path):
        assert summary(tmp_path).cause == ""
        os.utime(tmp_path / "lock.json", (1, time.time() - 11))
        run = summary(tmp_path)
    assert run.state == "running"
    assert "no sign of life for 11 s" in run.cause


def test_summary_counts_what_still_counts(tmp_path):
    record(tmp_path, START, *STEPS, Resumed(step=1, total_steps=20))
    run = summary(tmp_path)
    assert (run.step, run.total_steps, run.loss) == (1, 20, None)
    record(
        tmp_path, Progress(step=2, loss=0.25), Finished(step=2), Reported(path="r", verdict="ok")
    )
    run = summary(tmp_path)
    assert (run.name, run.step, run.loss, run.verdict) == (tmp_path.name, 2, 0.25, "ok")
    assert run.started is not None
    assert abs(run.started - time.time()) < 60


def test_failed_run_tells_its_error(tmp_path):
    record(tmp_path, START, Failed(error="loss is NaN", fix="lower the rate"))
    assert summary(tmp_path).cause == "loss is NaN"


def test_runs_lists_run_folders_the_latest_first(tmp_path, monkeypatch):
    for number, name in enumerate("bac"):
        monkeypatch.setattr(time, "time", lambda number=number: 1e9 + number)
        record(tmp_path / name, START)
    (tmp_path / "notes").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "events.jsonl").touch()
    (tmp_path / "file.txt").touch()
    assert [run.name for run in runs(tmp_path)] == ["c", "a", "b", "empty"]
    assert runs(tmp_path / "nowhere") == []


def test_milestones_leave_out_all_steps_but_the_last(tmp_path):
    record(tmp_path, START, *STEPS, Saved(step=3, path="x"))
    assert [event.event for event in read_milestones(tmp_path)] == ["started", "progress", "saved"]
    assert read_milestones(tmp_path / "nowhere") == []


def test_a_long_run_is_summed_up_quickly(tmp_path):
    record(tmp_path, START, *(Progress(step=n, loss=0.1) for n in range(1, 5001)))
    started = time.process_time()
    assert history.summary(tmp_path).step == 5000
    assert time.process_time() - started < 0.2
