"""A run that is told to end while its model works beside the steps, or by a closed terminal."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench import store
from workbench.commands import progress
from workbench.commands.console import heeding_console
from workbench.launch import resume
from workbench.recipe import Recipe
from workbench.records import checkpoint, history, log
from workbench.training.run import Run

BUSY = ("sampling.prompts=[zib]", "sampling.steps=20", "output.report=false")


@pytest.fixture
def recipe(tiny_sd: Path, tmp_path: Path) -> Recipe:
    photos = write_photos(tmp_path / "photos", 3)
    return tiny_recipe(tiny_sd, photos, tmp_path / "runs", *BUSY)


def started(recipe: Recipe) -> Run:
    return Run(recipe, Path(recipe.output.folder) / recipe.name)


def stop_at_call(run: Run, number: int, reason: str) -> list[int]:
    """Ask the run to end in its model's n-th call from now; what is called is counted."""
    calls: list[int] = []

    def count(*_: object) -> None:
        calls.append(run.step)
        if len(calls) == number:
            run.stop(reason)

    run.trainer.family.unet.register_forward_pre_hook(count)
    return calls


@pytest.mark.parametrize(("reason", "lora"), [("terminated", False), ("stopped", True)])
def test_sampling_is_left_at_the_next_call_with_the_step_saved(recipe, reason, lora):
    chosen = recipe.override(["sampling.every_steps=1", "training.checkpoint_every=1000"])
    run, told, calls = started(chosen), [], []
    for event in run.train():
        told.append(event)
        if event.event == "saved" and not calls:  # a checkpoint precedes the sampling
            assert event.what == "checkpoint" and run.step == 1
            calls = stop_at_call(run, 3, reason)
    assert told[-1].event == "finished" and (told[-1].step, told[-1].reason) == (1, reason)
    assert not [e for e in told if e.event == "sampled" and not e.base]
    assert checkpoint.newest_valid(run.folder).step == 1
    assert (run.folder / "lora").exists() is lora
    if reason == "terminated":
        assert len(calls) == 3, "the third call was the last"


def test_what_measures_the_base_is_left_too_and_a_resume_begins_anew(recipe):
    run = started(recipe)
    told = []
    for event in run.train():
        told.append(event)
        if event.event == "started":
            calls = stop_at_call(run, 2, "terminated")
    assert (told[-1].event, told[-1].step, told[-1].reason) == ("finished", 0, "terminated")
    assert len(calls) == 2 and not list(run.folder.glob("checkpoints/step-*"))
    assert history.state(run.folder) == "stopped"
    events = list(resume(run.folder).train())
    assert [e.event for e in events if e.event in ("resumed", "finished")] == [
        "resumed",
        "finished",
    ]
    assert history.state(run.folder) == "finished"


def test_a_stop_measures_once_more_and_a_hurry_ends_that(recipe):
    run = started(recipe.override(["length.steps=100", "validation.every_steps=1000"]))
    told = []
    for event in run.train():
        told.append(event)
        if event.event == "progress" and event.step == 2:
            run.stop("stopped")
        if event.event == "saved" and event.what == "checkpoint":
            calls = stop_at_call(run, 1, "terminated")
    assert (told[-1].step, told[-1].reason) == (2, "terminated") or told[-1].reason == "stopped"
    assert not [e for e in told if e.event == "validated"] and len(calls) == 1


def test_only_a_second_interrupt_gives_up_unsaved(recipe, monkeypatch, capsys):
    """Machines repeat SIGTERM, and launchers send it after SIGINT."""
    run = started(recipe.override(["length.steps=1000", "sampling.prompts=[]"]))
    view, sent = progress.EventView(progress.StageBar()), []

    class View:
        def __getattr__(self, name):
            return getattr(view, name)

        def draw(self, event):
            view.draw(event)
            if event.event == "progress" and not sent:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM, signal.SIGHUP):
                    sent.append(number)
                    signal.raise_signal(number)

    monkeypatch.setattr(progress, "let_go_of_terminal", lambda: None)
    assert progress.follow(run, View()) == 143
    assert checkpoint.newest_valid(run.folder).step == 1
    assert "saving and leaving" in capsys.readouterr().out


def test_an_ignored_hangup_stays_ignored(monkeypatch):
    """nohup: the run goes on when its terminal closes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in progress.ending_signals()
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert signal.SIGHUP in progress.ending_signals()
    finally:
        signal.signal(signal.SIGHUP, before)


def follow_and(recipe: Recipe, act) -> tuple[int, Run]:
    """Follow a run of the command line, and do something after its first step."""
    run = started(recipe.override(["length.steps=1000", "sampling.prompts=[]"]))
    view, done = progress.EventView(progress.StageBar()), []

    class View:
        def __getattr__(self, name):
            return getattr(view, name)

        def draw(self, event):
            view.draw(event)
            if event.event == "progress" and not done:
                done.append(event)
                act()

    return progress.follow(run, View()), run


def test_ctrl_break_of_windows_saves_and_leaves(recipe, monkeypatch):
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    monkeypatch.setattr(progress, "let_go_of_terminal", lambda: None)
    code, run = follow_and(recipe, lambda: signal.raise_signal(signal.SIGUSR1))
    assert code == 143 and checkpoint.newest_valid(run.folder).step >= 1
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, "and is put back"


@pytest.mark.parametrize("end", [2, 5, 6])
def test_the_end_of_windows_console_is_held_back_until_all_is_saved(recipe, monkeypatch, end):
    """Windows ends the process when the handler returns, so it must not return before."""
    handlers, answers, saved = [], [], []

    def set_handler(routine, add):
        handlers.append(routine) if add else handlers.remove(routine)

    kernel = SimpleNamespace(SetConsoleCtrlHandler=set_handler)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(progress, "let_go_of_terminal", lambda: None)
    folder = Path(recipe.output.folder) / recipe.name

    def closes():
        answers.append(handlers[0](end))
        saved.append(checkpoint.newest_valid(folder).step)

    thread = threading.Thread(target=closes)
    code, _ = follow_and(recipe, thread.start)
    thread.join(10)
    assert code == 143 and answers == [1] and saved[0] >= 1 and handlers == []
    told = log.read(folder)
    assert (told[-1].event, told[-1].reason) == ("finished", "terminated")
    assert any("console" in str(event) for event in told), "the events say why"


def test_ctrl_c_is_left_to_the_signal(monkeypatch):
    handlers = []
    kernel = SimpleNamespace(SetConsoleCtrlHandler=lambda routine, add: handlers.append(routine))
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    stopped = []
    with heeding_console(lambda: stopped.append(1)):
        assert handlers[0](0) == handlers[0](1) == 0 and stopped == []


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_closed_terminal_saves_and_leaves(recipe, tmp_path):
    """The terminal's end is SIGHUP to the trainer, and an error to whatever it prints."""
    chosen = recipe.override(["length.steps=100000", "sampling.prompts=[]"])
    path = tmp_path / "tiny.toml"
    path.write_text(chosen.to_toml())
    master, slave = os.openpty()
    script = (
        "import fcntl, os, signal, sys, termios; os.setsid(); "
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0); signal.signal(signal.SIGHUP, signal.SIG_DFL); "
        "os.execv(sys.executable, [sys.executable, '-m', 'workbench', *sys.argv[1:]])"
    )
    run = tmp_path / "run"
    command = [sys.executable, "-c", script, "train", str(path), "--folder", str(run)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.set_blocking(master, False)
    try:
        until = time.monotonic() + 240
        while time.monotonic() < until and b'"progress"' not in events(run):
            try:
                os.read(master, 65536)
            except BlockingIOError:
                time.sleep(0.05)
        os.close(master)
        assert process.wait(120) == 143
    finally:
        process.kill()
    last = log.read(run)[-1]
    assert (last.event, last.reason) == ("finished", "terminated")
    assert checkpoint.newest_valid(run).step == last.step > 0
    assert store.read_header(run / "checkpoints" / f"step-{last.step:06d}" / "adapter.safetensors")


def events(run: Path) -> bytes:
    path = run / log.FILE_NAME
    return path.read_bytes() if path.exists() else b""
