"""A drive that hangs while a run trains, held as the system holds it: no handler of Python runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench import store
from workbench.commands import drives
from workbench.launch import resume
from workbench.recipe import Recipe
from workbench.records import checkpoint, history, log
from workbench.store import systems
from workbench.training.run import Run

# While the file lies there, whatever writes waits for a mutex, which no signal interrupts.
TRAINER = """
import ctypes, os, sys, threading, time
from pathlib import Path
from workbench import cli
from workbench.commands import drives
from workbench.store import drives as asking, systems

hung, given_up_s, run = Path(sys.argv.pop(1)), float(sys.argv.pop(1)), Path(sys.argv[-1])
hangs_once = [run / "checkpoints" / "step-000004"]
systems.ANSWER_S, drives.GIVEN_UP_S = 0.5, given_up_s
asking._ASK_EVERY_S = drives._LOOK_EVERY_S = 0.05
libc, mutex, fsync, utime = ctypes.CDLL(None), ctypes.create_string_buffer(64), os.fsync, os.utime

def answer():
    libc.pthread_mutex_lock(mutex)
    while hung.exists():
        time.sleep(0.02)
    libc.pthread_mutex_unlock(mutex)

def wait():
    if hangs_once and hangs_once[0].exists():
        hangs_once.clear()
        hung.touch()
    if hung.exists():
        time.sleep(0.1)  # the other thread holds it by now
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_unlock(mutex)

def watch():
    while True:
        if hung.exists():
            answer()
        time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()
os.fsync = lambda handle: (wait(), fsync(handle))[1]
os.utime = lambda *given, **rest: (wait(), utime(*given, **rest))[1]
cli.main()
"""


@pytest.fixture
def recipe(tiny_sd: Path, tmp_path: Path) -> Recipe:
    quick = ("length.steps=6", "training.checkpoint_every=2", "sampling.prompts=[]")
    photos = write_photos(tmp_path / "photos", 3)
    return tiny_recipe(tiny_sd, photos, tmp_path / "runs", *quick, "output.report=false")


class Trainer:
    """`workbench train` as a process whose drive hangs once the checkpoint of step 4 is there."""

    def __init__(self, recipe: Recipe, home: Path, *, given_up_s: float):
        self.hung, self.run, self.output = home / "hung", home / "run", home / "output"
        path = home / "tiny.toml"
        path.write_text(recipe.to_toml())
        arguments = [str(self.hung), str(given_up_s), "train", str(path), "--folder", str(self.run)]
        with open(self.output, "wb") as output:
            command = [sys.executable, "-c", TRAINER, *arguments]
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        self.until(lambda: "has not answered for 1 s: its drive hangs" in self.said)

    @property
    def said(self) -> str:
        return self.output.read_text().replace("\n", " ")

    def until(self, true) -> None:
        ends_at = time.monotonic() + 120
        while not true():
            assert time.monotonic() < ends_at and self.process.poll() is None, self.said
            time.sleep(0.02)


@pytest.fixture
def trainers() -> Iterator[list[Trainer]]:
    began: list[Trainer] = []
    yield began
    for one in began:
        one.process.kill()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="holds a thread as Linux does")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_whose_drive_hangs_is_named_and_ends_when_told(
    recipe, tmp_path, trainers, number, code
):
    trainer = Trainer(recipe, tmp_path, given_up_s=2.0)
    trainers.append(trainer)
    began = time.monotonic()
    trainer.process.send_signal(number)
    assert trainer.process.wait(60) == code, trainer.said
    assert time.monotonic() - began < 20
    assert f"{trainer.run} has not answered" in trainer.said and "leaving:" in trainer.said
    trainer.hung.unlink()
    saved = checkpoint.newest_valid(trainer.run).step
    list(resume(trainer.run).train())
    calm = Run(recipe, tmp_path / "calm")
    list(calm.train())
    assert history.state(trainer.run) == "finished" and saved == 4
    one, other = (
        store.load_tensors(r / "lora/tiny.safetensors") for r in (trainer.run, calm.folder)
    )
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="holds a thread as Linux does")
def test_a_drive_that_comes_back_is_gone_on_with(recipe, tmp_path, trainers):
    trainer = Trainer(recipe, tmp_path, given_up_s=60.0)
    trainers.append(trainer)
    trainer.hung.unlink()
    assert trainer.process.wait(120) == 0, trainer.said
    assert "answers again" in trainer.said
    told = log.read(trainer.run)
    steps = [event.step for event in told if event.event == "progress"]
    assert steps == list(range(1, 7)), "no step is lost or done twice"
    notes = [e.message for e in told if e.event == "warned" and e.id == "drive-hung"]
    assert len(notes) == 1 and f"{trainer.run} did not answer for" in notes[0]


class Left(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def hanging(monkeypatch, tmp_path):
    """What `look` does with the signals that came, and what the run was asked."""

    def leave(code: int) -> None:
        raise Left(code)

    monkeypatch.setattr(drives.os, "_exit", leave)
    run = SimpleNamespace(folder=tmp_path / "run", asked=None, step=3)
    came: list[int] = []
    return SimpleNamespace(run=run, came=came, look=drives._Hanging(run, lambda: came).look)


@pytest.mark.parametrize(
    ("place", "seconds", "came", "asked", "code"),
    [
        ("run/lock.json", 61, [], None, 0),  # nobody asked: it is waited for
        ("run/lock.json", 59, [signal.SIGTERM], None, 0),
        ("run/lock.json", 61, [signal.SIGTERM], None, 143),
        ("run/lock.json", 61, [signal.SIGINT], None, 130),
        ("run/lock.json", 61, [signal.SIGINT, signal.SIGTERM], None, 143),
        ("run/lock.json", 61, [], "terminated", 143),  # a notice of the machine
        ("run/lock.json", 61, [signal.SIGINT], "stopped", 130),  # held in the save after it
        ("pictures", 61, [signal.SIGTERM], None, 143),  # held while it reads
        ("pictures", 61, [signal.SIGTERM], "terminated", 0),  # it saves, on a drive that answers
    ],
)
def test_when_a_run_is_left(hanging, tmp_path, capsys, place, seconds, came, asked, code):
    hanging.came[:], hanging.run.asked = came, asked
    silent = [store.Silence(tmp_path / place, seconds)]
    if code:
        with pytest.raises(Left) as left:
            hanging.look(silent)
        assert left.value.args == (code,)
    else:
        hanging.look(silent)
        hanging.look(silent)
    said = capsys.readouterr().err
    assert said.count("its drive hangs") == 1, "once"
    assert f"{tmp_path / 'run'}" in said and "lock.json" not in said


def test_signals_that_the_system_keeps_back_are_seen():
    """A main thread that sleeps in the kernel takes none; Linux lists them as pending."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    script = (
        "import os, signal, sys; from workbench.commands.drives import _kept; "
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); "
        "os.kill(os.getpid(), signal.SIGTERM); print(_kept([15, 2])); "
        "sys.stdout.flush(); os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[15]\n"
    assert drives._kept(numbers) == []


def test_a_place_is_asked_in_a_thread_of_its_own(monkeypatch, tmp_path):
    """One that hangs says nothing of the others, and what is no file has answered."""
    released, real = threading.Event(), os.stat

    def stat(path, *given, **rest):
        if os.fspath(path) == str(tmp_path / "share"):
            released.wait(30)
        return real(path, *given, **rest)

    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(systems, "ANSWER_S", 0.2)
    monkeypatch.setattr("workbench.store.drives._ASK_EVERY_S", 0.01)
    places = {tmp_path / "share": "look", tmp_path: "look", tmp_path / "none": "touch"}
    watch, ends_at = store.DriveWatch(places), time.monotonic() + 30
    try:
        while not (silent := watch.silent()) and time.monotonic() < ends_at:
            time.sleep(0.01)
        assert [one.place for one in silent] == [tmp_path / "share"]
        assert silent[0].seconds > 0.2
        released.set()
        while watch.silent() and time.monotonic() < ends_at:
            time.sleep(0.01)
        assert watch.silent() == []
    finally:
        released.set()
        watch.close()
