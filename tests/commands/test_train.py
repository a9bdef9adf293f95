"""`workbench train` with prepared events: what is printed, signals, exit codes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commanding import run

import workbench
from workbench import cli
from workbench.records.events import (
    Event,
    Failed,
    Finished,
    Preparing,
    Progress,
    Proved,
    Reported,
    Saved,
    Started,
    Validated,
    Warned,
)

pytestmark = pytest.mark.usefixtures("empty_folder")


class FakeRun:
    """Gives prepared events; `stop` ends it after the step, as a real run does."""

    def __init__(self, folder: Path, events: list[Any]):
        self.folder, self.events = folder, events
        self.final_lora = folder / "lora" / "x.safetensors"
        self.asked: str | None = None
        self.closed = False
        self.observers: list[Any] = []
        self.recipe = SimpleNamespace(data=SimpleNamespace(subsets=()))

    def stop(self, reason: str = "stopped", *, because: str = "") -> None:
        self.asked = reason

    def train(self) -> Iterator[Event]:
        try:
            for event in self.events:
                if callable(event):
                    event()
                    continue
                yield event
                if self.asked and event.event == "progress":
                    yield Saved(step=event.step, path="checkpoints/step-000001")
                    yield Finished(step=event.step, reason=self.asked)  # pyright: ignore
                    return
        except GeneratorExit:
            self.closed = True
            raise


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`train` runs what this is given instead of a model."""

    def prepare(*events: Any) -> FakeRun:
        fake = FakeRun(tmp_path / "runs" / "x", list(events))
        monkeypatch.setattr(workbench, "start", lambda recipe, folder: fake, raising=False)
        return fake

    return prepare


def started(total: int = 2) -> Started:
    return Started(run="x", recipe_hash="0", total_steps=total, num_images=16, num_held_out=2)


def step(number: int) -> Progress:
    return Progress(step=number, loss=0.5, steps_per_s=2.0, eta_s=1.0)


def kill(number: int):
    return lambda: os.kill(os.getpid(), number)


def test_a_run_that_completes(training, capsys):
    fake = training(
        Preparing(stage="loading the base", done=0, total=1),
        started(),
        Warned(id="set-aside", message="1 file is [not] trained on", fix="look"),
        step(1),
        step(2),
        Validated(step=2, split="train", loss=0.4, base_loss=0.6),
        Saved(step=2, path="lora/x.safetensors", what="lora", final=True, num_bytes=2 << 20),
        Proved(step=2, path="lora/x.safetensors", passed=True),
        Finished(step=2),
        Reported(path="report.html", verdict="It learned."),
    )
    assert run("train", "critters") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert captured.err == ""
    assert "warning: 1 file is [not] trained on; look [set-aside]" in captured.out
    assert "16 images, 2 held out, 2 steps on cpu in float32" in captured.out
    assert "step 2: saved lora/x.safetensors (2 MiB)" in captured.out
    assert "reload proof passed" in captured.out
    assert lines[-2:] == ["It learned.", str(fake.folder / "report.html")]


@pytest.mark.parametrize(
    ("number", "reason", "code"),
    [(signal.SIGINT, "stopped", 130), (signal.SIGTERM, "terminated", 143)],
)
def test_a_signal_stops_the_run_after_its_step(training, capsys, number, reason, code):
    fake = training(started(3), step(1), kill(number), step(2), step(3), Finished(step=3))
    assert run("train", "critters") == code
    assert fake.asked == reason
    output = capsys.readouterr().out
    assert "training: 3 of 3" not in output
    assert output.splitlines()[-1] == f"Stopped. Go on with: workbench resume {fake.folder}"
    assert signal.getsignal(number) is not None


def test_a_signal_before_the_first_step_does_not_wait_for_it(training):
    loading = Preparing(stage="caching latents", done=1, total=9)
    fake = training(loading, kill(signal.SIGTERM), loading, loading, started(), step(1))
    assert run("train", "critters") == 143
    assert fake.closed


def test_a_second_signal_ends_at_once(training):
    training(started(), step(1), kill(signal.SIGINT), kill(signal.SIGINT), step(2))
    assert run("train", "critters") == 130


def fail(error: Exception):
    def raise_it() -> None:
        raise error

    return raise_it


def test_the_users_mistake_in_a_run_is_one_line(training, capsys):
    def refuse() -> None:
        from workbench.recipe import LengthSettings
        from workbench.settings import override

        override(LengthSettings(steps=1), ["steps=-1"])

    training(started(), Failed(error="length.steps must be >= 1"), refuse)
    assert run("train", "critters") == 2
    assert capsys.readouterr().err == "failed: length.steps must be >= 1\n"


def test_a_defect_in_a_run_keeps_its_traceback(training, capsys):
    training(started(), Failed(error="boom"), fail(RuntimeError("boom")))
    with pytest.raises(RuntimeError, match="boom"):
        cli.main(["train", "critters"])


def test_a_librarys_value_error_is_not_blamed_on_the_user(training):
    training(started(), lambda: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main(["train", "critters"])
