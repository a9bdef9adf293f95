"""Why a run ended: what its process printed, as far as it helps."""

import os
import signal
from pathlib import Path

import pytest
from workspace_fakes import queued

from workbench import cli
from workbench.records.events import Failed, Finished, Progress, Started
from workbench.records.lock import RunLock
from workbench.records.log import EventLog
from workbench.workspace import jobs
from workbench.workspace.causes import LOG, killed, last_words, printed, why
from workbench.workspace.folders import Workspace
from workbench.workspace.jobs import Job

TRACEBACK = """\
=== 2026-01-01 10:00:00 train
an older process
Traceback (most recent call last):
  File "x.py", line 1
OldError: before

=== 2026-01-01 11:00:00 resume
training: 1 of 9\rtraining: 2 of 9\rtraining: 3 of 9
\x1b[31mred\x1b[0m and \x07bell
Traceback (most recent call last):
  File "y.py", line 2, in <module>
    boom()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB
some library's last breath
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with two steps, begun by a worker."""
    folder = tmp_path / "workspace" / "runs" / "mochi"
    with EventLog(folder) as log:
        log.append(Started(run="mochi", recipe_hash="0", total_steps=9))
        log.append(Progress(step=1, loss=1.0))
        log.append(Progress(step=2, loss=1.0))
    return folder


def end(folder: Path, **more: object) -> None:
    """Put a job's end beside its run."""
    jobs.put(Job(id=1, folder=folder, state="ended", **more))  # pyright: ignore[reportArgumentType]


def test_what_the_latest_process_printed_is_read_as_it_was_seen(run: Path):
    assert printed(run) == []
    assert last_words(run) == ""
    (run / LOG).write_text(TRACEBACK)
    assert printed(run)[:2] == ["training: 3 of 9", "red and bell"]
    assert last_words(run) == "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"


def test_only_the_end_of_a_long_log_is_read(run: Path):
    (run / LOG).write_bytes(
        b"=== x\n" + b"y" * 40 + b"\n" * (1 << 20) + b"failed: no memory\nbye\n"
    )
    assert last_words(run) == "failed: no memory"


def test_a_crash_names_signal_step_and_last_words(run: Path):
    (run / LOG).write_text(TRACEBACK)
    end(run, exit_code=-signal.SIGKILL)
    assert why(run) == (
        "its process was killed (SIGKILL), by hand or by the system for want of memory, after "
        "step 2; torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    )


def test_a_crash_that_nobody_saw_is_told_as_the_history_tells_it(run: Path):
    assert "ended without a word after step 2" in why(run), "not begun by a worker"
    end(run)
    assert "ended without a word after step 2" in why(run)


def test_a_failure_comes_with_its_fix_and_an_end_in_order_with_its_note(run: Path):
    end(run, exit_code=1)
    with EventLog(run) as log:
        log.append(Failed(error="loss is NaN", fix="lower the rate", step=2))
    assert why(run) == "loss is NaN; lower the rate"
    with EventLog(run) as log:
        log.append(Finished(step=2, reason="stopped"))
    assert why(run) == "stopped"
    end(run, exit_code=0, note="its budget was used up (1 minutes)")
    assert why(run) == "its budget was used up (1 minutes)"


def test_a_run_that_works_has_no_cause(run: Path):
    end(run, exit_code=1, note="of an earlier job")
    with RunLock(run):
        assert why(run) == ""


def test_signals_have_names():
    assert killed(None) == "its process ended"
    assert killed(3) == "its process ended with code 3"
    assert killed(-999) == "its process was killed (signal 999)"
    if os.name == "posix":
        assert killed(-15) == "its process was killed (SIGTERM)"


def test_the_list_of_runs_shows_what_waits(run: Path, capsys: pytest.CaptureFixture[str]):
    with EventLog(run) as log:
        log.append(Finished(step=9))
    workspace = Workspace(run.parents[1])
    queued(workspace, "later")
    with pytest.raises(SystemExit):
        cli.main(["runs", str(workspace.runs)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines if "of" in line] == [
        ["later", "queued", "(1)"],
        ["mochi", "finished", "9"],
    ]
