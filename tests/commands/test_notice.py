"""A machine that gives notice, one that kills too soon, and processes launched together."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench import checks
from workbench.commands import launching, notice, progress
from workbench.commands.notice import Notice
from workbench.records import checkpoint, log
from workbench.settings import SettingsError
from workbench.training import saving
from workbench.training.run import Run


@pytest.fixture
def recipe(tiny_sd: Path, tmp_path: Path):
    photos = write_photos(tmp_path / "photos", 3)
    quiet = ("sampling.prompts=[]", "output.report=false")
    return tiny_recipe(tiny_sd, photos, tmp_path / "runs", *quiet)


def run_of(recipe) -> Run:
    return Run(recipe, Path(recipe.output.folder) / recipe.name)


def followed(run: Run, heeded: Notice) -> int:
    return progress.follow(run, progress.EventView(progress.StageBar()), heeded)


@pytest.mark.parametrize("by", ["file", "command"])
def test_a_notice_saves_and_leaves_and_the_events_say_why(recipe, tmp_path, monkeypatch, by):
    monkeypatch.setattr(notice, "POLL_S", 0.01)
    file = tmp_path / "preempted"
    heeded = Notice(file=file) if by == "file" else Notice(command=f"test -e '{file}'")
    run = run_of(recipe.override(["length.steps=100000", "training.checkpoint_every=100000"]))

    def touch(_run, event):
        if event.event == "progress" and event.step == 2:
            file.touch()
        return ()

    run.observers = [touch]
    assert followed(run, heeded) == 143
    told = log.read(run.folder)
    assert (told[-1].event, told[-1].reason) == ("finished", "terminated")
    assert checkpoint.newest_valid(run.folder).step == told[-1].step >= 2
    (said,) = [event for event in told if event.event == "warned" and event.id == "told-to-leave"]
    assert "the machine gave notice" in said.message and said.severity == "note"
    assert (str(file) in said.message) is (by == "file")
    assert "resume" in said.fix


def test_a_signal_is_named_in_the_events_too(recipe):
    run = run_of(recipe.override(["length.steps=100000"]))

    def end(_run, event):
        if event.event == "progress":
            signal.raise_signal(signal.SIGTERM)
        return ()

    run.observers = [end]
    assert followed(run, Notice()) == 143
    said = [e.message for e in log.read(run.folder) if e.event == "warned"]
    assert said[-1] == "the run was told to end: signal SIGTERM"


def test_a_notice_that_lies_there_from_the_start_ends_before_the_first_step(recipe, tmp_path):
    (tmp_path / "gone").touch()
    assert followed(run_of(recipe), Notice(file=tmp_path / "gone")) == 143


def test_a_command_says_so_by_its_code_alone(tmp_path, monkeypatch):
    assert Notice(command="false").given() == ""
    said = Notice(command="true --key=secret").given()
    assert said == "the notice command true ended with code 0"
    monkeypatch.setattr(notice, "COMMAND_TIMEOUT_S", 0.05)
    assert Notice(command="sleep 5").given() == "", "a command that hangs is no notice"
    with pytest.raises(SettingsError, match="a program that is there, got 'no-such-program'"):
        Notice(command="no-such-program --x")
    with pytest.raises(SettingsError, match="must be a command line"):
        Notice(command="sh -c 'open")


# ---------------------------------------------------------------------------- a kill after SIGTERM


@pytest.fixture
def slow_save(monkeypatch) -> None:
    save = saving.save_checkpoint

    def slow(*args, **rest):
        time.sleep(0.3)
        return save(*args, **rest)

    monkeypatch.setattr(saving, "save_checkpoint", slow)


def test_a_save_longer_than_the_grace_is_said_once_and_by_check_afterwards(recipe, slow_save):
    hurried = recipe.override(["output.grace_s=0.25"])
    assert "save_over_grace" not in found(hurried), "nothing is known before the first run"
    told = list(run_of(hurried).train())
    said = [e for e in told if e.event == "warned" and e.id == "save-over-grace"]
    assert [e.step for e in said] == [2], "the checkpoints of steps 2 and 4 were both slow"
    assert "kills 0.25 s after it asks" in said[0].message
    finding = found(hurried)["save_over_grace"]
    assert str(Path(recipe.output.folder) / "tiny") in finding.reason
    assert "more than the 0.25 s between SIGTERM and the kill" in finding.reason
    assert "save_over_grace" not in found(recipe.override(["output.grace_s=60"]))
    assert "save_over_grace" not in found(hurried.override(["name=tin"])), "another name's runs"


def test_a_save_within_the_grace_is_not_spoken_of(recipe):
    told = list(run_of(recipe.override(["output.grace_s=60"])).train())
    assert not [e for e in told if e.event == "warned" and e.id == "save-over-grace"]


def found(recipe) -> dict[str, checks.Finding]:
    return {finding.rule.id: finding for finding in checks.check(recipe)}


# ---------------------------------------------------------------------------------- many processes


def child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["", ""], 0),
        (["raise SystemExit(143)", "raise SystemExit(143)"], 143),
        (["raise SystemExit(130)", ""], 130),  # the first process alone knows
        (["", "raise SystemExit(2)"], 2),
        (["", "import os; os.kill(os.getpid(), 9)"], 137),
    ],
    ids=["done", "terminated", "stopped", "mistake", "killed"],
)
def test_the_exit_code_of_a_launch_is_the_runs_own(codes, expected, capfd):
    assert launching.wait([child(code) for code in codes]) == expected


def test_processes_that_wait_for_a_dead_one_are_ended(capfd):
    children = [child("import time; time.sleep(60)"), child("raise SystemExit(1)")]
    before = time.monotonic()
    assert launching.wait(children, alone_s=0.2) == 1
    assert time.monotonic() - before < 20
    assert children[0].returncode == -signal.SIGKILL
    assert "process 1 ended with code 1; ending the others" in capfd.readouterr().err


def test_only_runs_are_launched(capsys):
    from workbench.cli import main

    with pytest.raises(SystemExit) as left:
        main(["launch", "--processes", "2", "app"])
    assert left.value.code == 2
    assert "must begin with train or resume, got 'app'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("kill") is None, reason="signals")
def test_a_launch_that_is_told_to_end_saves_in_all_processes_and_ends_with_143(recipe, tmp_path):
    chosen = recipe.override(["length.steps=100000", "data.buckets.enabled=false"])
    (tmp_path / "tiny.toml").write_text(chosen.to_toml())
    run = tmp_path / "run"
    launcher = subprocess.Popen(
        [
            *(sys.executable, "-m", "workbench", "launch", "--processes", "2"),
            *("train", str(tmp_path / "tiny.toml"), "--folder", str(run)),
        ],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    )
    path, until = run / log.FILE_NAME, time.monotonic() + 200
    while time.monotonic() < until and not (path.exists() and b'"progress"' in path.read_bytes()):
        time.sleep(0.1)
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(60) == 143
    told = log.read(run)
    assert (told[-1].event, told[-1].reason) == ("finished", "terminated")
    assert checkpoint.newest_valid(run).step == told[-1].step > 0
