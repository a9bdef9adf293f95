"""The command line as a user meets it: speed of help, exit codes, clean errors, what is printed."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pace
import pytest
from PIL import Image

import workbench
from workbench import cli
from workbench.commands import terminal
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
from workbench.settings import SettingsError

COMMANDS = """demo new check train resume caption buckets make-prior sample compare verify
experiment inspect convert merge runs doctor""".split()  # noqa: SIM905


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a relative path cannot hit the checkout; new processes still find the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(workbench.__file__).parents[1]))


def run(*arguments: str) -> int:
    """Run a command in this process and give its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


class FakeRun:
    """Gives prepared events; `stop` ends it after the step, as a real run does."""

    def __init__(self, folder: Path, events: list[Any]):
        self.folder, self.events = folder, events
        self.final_lora = folder / "lora" / "x.safetensors"
        self.asked: str | None = None
        self.closed = False

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


# ----------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command(command: str, capsys):
    assert run(*([command] if command else []), "--help") == 0
    output = capsys.readouterr().out
    assert "Usage" in output
    if not command:
        assert [name for name in COMMANDS if f" {name} " not in output] == []


def test_help_is_quick_since_it_loads_nothing_heavy():
    code = """
        import sys
        from workbench.cli import main
        try:
            main(["train", "--help"])
        finally:
            heavy = {"torch", "PIL", "numpy", "plotly", "diffusers"} & set(sys.modules)
            print("heavy:", sorted(heavy), file=sys.stderr)
    """
    used_s = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
        )
        after = os.times()
        assert done.stderr == "heavy: []\n"
        used_s.append(sum(after[2:4]) - sum(before[2:4]))
    # Processor time, which a busy machine stretches least in the best of several.
    assert min(used_s) <= 0.5 * pace.slower()


# ------------------------------------------------------------------------------------- exit codes


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


def test_a_defect_leaves_with_code_1_and_a_mistake_with_2():
    def code_of(statement: str) -> tuple[int, str]:
        program = f"from workbench import cli, store\ndef x(): {statement}\ncli.app = x\ncli.main()"
        program = program.replace("def x()", "def x(arguments)")
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        return done.returncode, done.stderr

    code, output = code_of("1 / 0")
    assert code == 1
    assert "Traceback" in output
    code, output = code_of("store.read_text('nowhere.toml')")
    assert (code, output.count("\n")) == (2, 1)
    code, output = code_of("open('/nowhere/at/all')")
    assert (code, output) == (1, "/nowhere/at/all: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "nowhere.toml"], "nowhere.toml"),
        (["check", "critter"], "a .toml file or one of the presets critters"),
        (["check", "critters", "adapter.rnk=4"], "did you mean adapter.rank?"),
        (["check", "critters", "adapter.rank"], "key=value"),
        (["buckets", "nowhere"], "does not exist"),
        (["caption", "nowhere", "--rename", "a"], "does not exist"),
        (["caption", ".", "--trigger", ""], "--trigger must be a word on one line, got ''"),
        (["caption", ".", "--trigger", "a\nb"], "--trigger must be a word on one line"),
        (["buckets", "."], "no picture in .: put .png"),
        (["resume", "nowhere"], "nowhere is no run folder"),
        (["inspect", "x.ckpt"], "pickle"),
        (["inspect", "."], ".: a folder without a LoRA"),
        (["sample", "step=1", "--base", "x.ckpt"], "pickle"),  # a setting is taken for no file
        (["frobnicate"], "frobnicate"),
    ],
)
def test_the_users_mistakes_are_named_without_a_traceback(arguments, said, capsys):
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err + captured.out


def test_other_processes_of_a_run_print_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "runs", "nowhere"],
        env=os.environ | {"RANK": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---------------------------------------------------------------------------------- the commands


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "my images"
    home.mkdir()
    for index, size in enumerate([(640, 512), (512, 640), (700, 700)]):
        Image.new("RGB", size, (index * 80, 90, 120)).save(home / f"{index}.png")
        (home / f"{index}.txt").write_text(f"tag {index}, common, red hat")
    (home / "broken.png").write_bytes(b"no picture")
    return home


def test_check_names_pitfalls_and_the_way_round_them(capsys):
    slow = ["optimizer.kind=prodigy", "optimizer.learning_rate=1e-4"]
    assert run("check", "critters", *slow) == 2
    output = capsys.readouterr().out
    assert "refuse [prodigy_rate]" in output
    assert "fix: set optimizer.learning_rate=1" in output
    assert run("check", "critters", *slow, "checks.allow=prodigy_rate") == 0
    assert "refuse (allowed) [prodigy_rate]" in capsys.readouterr().out


def test_new_says_that_the_images_are_not_there(capsys):
    assert run("new", "mine", "--data", "nowhere") == 0
    assert "nowhere does not exist yet" in capsys.readouterr().out


def test_convert_overwrites_nothing(tmp_path: Path, capsys):
    (tmp_path / "mine.safetensors").write_bytes(b"trained for hours")
    assert run("convert", "mine.safetensors", "mine.safetensors", "--to", "peft") == 2
    assert capsys.readouterr().err == "mine.safetensors exists; name a new file\n"
    assert (tmp_path / "mine.safetensors").read_bytes() == b"trained for hours"


def test_new_writes_a_recipe_that_loads(folder: Path, capsys):
    assert run("new", "mine", "--data", str(folder), "--trigger", "zib") == 0
    assert "mine.toml" in capsys.readouterr().out
    from workbench.recipe import Recipe

    recipe = Recipe.load("mine.toml")
    assert (recipe.name, recipe.base.path) == ("mine", "critters")
    assert (recipe.data.subsets[0].path, recipe.data.subsets[0].trigger) == (str(folder), "zib")
    assert run("new", "mine", "--data", str(folder)) == 2, "an existing recipe is not overwritten"


def test_new_for_another_base_brings_no_critters_along(folder: Path):
    base = ("--base", "somewhere/model", "--preset", "critters")
    assert run("new", "mine", "--data", str(folder), *base) == 0
    from workbench.recipe import Recipe

    assert [subset.path for subset in Recipe.load("mine.toml").data.subsets] == [str(folder)]


def test_caption_counts_tags_and_shows_draws(folder: Path, capsys):
    assert run("caption", str(folder), "captions.tag_dropout=0.5") == 0
    output = capsys.readouterr().out
    assert "5 tags in 3 images, 0 of them without a caption" in output
    assert "set aside: broken.png" in output
    assert "share of 200 draws" in output


def test_caption_edits_only_when_told_to(folder: Path, capsys):
    edit = ["--trigger", "zib", "--rename", "red hat=hat", "--remove", "common"]
    assert run("caption", str(folder), *edit) == 0
    assert "3 of 3 captions would change" in capsys.readouterr().out
    assert (folder / "0.txt").read_text() == "tag 0, common, red hat"
    assert run("caption", str(folder), *edit, "--write") == 0
    assert (folder / "0.txt").read_text() == "zib, tag 0, hat\n"


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
def test_names_and_captions_cannot_command_the_terminal(folder: Path, capsys):
    (folder / "0.png").rename(folder / "a\nb\x1b[2J.png")
    (folder / "1.txt").write_text("tag \x1b]0;title\x07 <script>")
    assert run("caption", str(folder)) == 0
    assert run("buckets", str(folder)) == 0
    assert run("caption", str(folder), "--trigger", "zib") == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output and "\x07" not in output
    assert "'a\\nb\\x1b[2J.png': zib" in output
    assert "\\x1b]0;title\\x07 <script>" in output


def test_buckets_account_for_every_file(folder: Path, capsys):
    assert run("buckets", str(folder), "--csv", "ledger.csv") == 0
    output = capsys.readouterr().out
    assert "512 x 512: 1 image\n" in output
    assert "set aside: broken.png" in output
    rows = Path("ledger.csv").read_text().splitlines()
    assert len(rows) == 1 + 4


def test_doctor_finds_this_machine_fit(capsys):
    assert run("doctor") == 0
    output = capsys.readouterr().out
    assert "This machine fits." in output
    assert f"python:         {sys.version_info.major}.{sys.version_info.minor}" in output


def test_runs_of_an_empty_folder(capsys):
    assert run("runs") == 0
    assert capsys.readouterr().out == "No runs in runs.\n"


# ------------------------------------------------------------------------------- numbers for people


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min 00 s"), (7810, "2 h 10 min")],
)
def test_durations(seconds: float, text: str):
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (3 << 19, "1.5 MiB"), (139 << 30, "139 GiB")],
)
def test_sizes(count: int, text: str):
    assert terminal.byte_size(count) == text


def test_mistakes_of_ours_are_told_from_the_users():
    try:
        raise SettingsError("raised here, outside the package")
    except SettingsError as error:
        assert not terminal.is_users_mistake(error)
