"""A run folder becomes a report without a model; importing the page needs no torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from workbench.evaluation import report
from workbench.evaluation.results import Comparison, Pair
from workbench.records.events import (
    Event,
    Finished,
    Preparing,
    Progress,
    Proved,
    Resumed,
    Sampled,
    SampledPicture,
    Saved,
    Started,
    Validated,
    Warned,
)
from workbench.records.log import EventLog


@pytest.fixture
def run(tmp_path: Path) -> Path:
    log = EventLog(tmp_path)

    def say(event: Event) -> None:
        log.append(event)

    say(Preparing(stage="caching latents", done=0, total=2))
    say(Started(run="mochi", recipe_hash="0", total_steps=20, num_images=12, num_held_out=2))
    for step in (0, 10, 20):
        name = f"samples/{step}.png"
        (tmp_path / "samples").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (step * 10, 0, 0)).save(tmp_path / name)
        if step:
            say(Progress(step=step, loss=1 / step, learning_rates={"unet": 1e-3}))
            say(Warned(id="x", message="one image was set aside", fix="look at it"))
            say(Validated(step=step, split="train", loss=1 - step / 100, base_loss=1.0))
        shown = (SampledPicture(prompt="mochi", seed=0, path=name),)
        say(Sampled(step=step, pictures=shown, base=step == 0))
    say(Saved(step=20, path="lora/mochi.safetensors", what="lora", final=True, num_bytes=2**20))
    findings = ("✓ names: all there", "✗ tensors: lora_unet_x differs")
    say(Proved(step=20, path="lora/mochi.safetensors", passed=False, findings=findings,
               numbers={"names": 0, "tensors": 1}))  # fmt: skip
    say(Finished(step=20))
    log.close()
    (tmp_path / "recipe.toml").write_text('name = "mochi"\n', encoding="utf-8")
    return tmp_path


def test_gathers_what_the_run_left(run: Path) -> None:
    found = report.gather(run)
    assert found.subtitle == "complete"
    assert found.facts["Steps"] == "20" and found.facts["Images"] == "12 + 2 held out"
    assert found.facts["File"] == "1.0 MiB"
    assert [label for label, _ in found.progress[0].cells] == ["base", "step 10", "step 20"]
    assert [(n.message, n.times) for n in found.warnings] == [("one image was set aside", 2)]
    assert found.proof is not None and not found.proof.passed
    assert [row.passed for row in found.proof.rows] == [True, False]
    assert found.verdict.tone == "good"
    assert {"stable_loss", "loss", "rates"} <= set(found.figures)


def test_writes_one_file_with_given_pictures(run: Path) -> None:
    pair = Pair("mochi", 0, Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "red"))
    path = report.write_report(run, comparison=Comparison((pair,)))
    assert path == run / "report.html"
    text = path.read_text(encoding="utf-8")
    assert "lora_unet_x differs" in text and "is not what was trained" in text


def test_what_a_resume_changed_is_on_the_page(run: Path) -> None:
    log = EventLog(run)
    log.append(Resumed(step=20, changes=("length.steps: 20 -> 40", "optimizer.kind: 'a' -> 'b'")))
    log.close()
    assert report.gather(run).changes == (
        "from step 21: length.steps: 20 -> 40",
        "from step 21: optimizer.kind: 'a' -> 'b'",
    )
    path = report.write_report(run, comparison=Comparison(()))
    text = path.read_text(encoding="utf-8")
    assert "Changed on resume" in text and "from step 21: length.steps: 20 -&gt; 40" in text


def test_timings_give_every_second_to_one_stage() -> None:
    events = [
        Preparing(elapsed_s=1, stage="caching", done=0, total=2),
        Preparing(elapsed_s=3, stage="caching", done=2, total=2),
        Started(elapsed_s=4, run="x", recipe_hash="0", total_steps=1),
        Progress(elapsed_s=10, step=1, loss=1),
        Saved(elapsed_s=11.5, step=1, path="x"),
        Sampled(elapsed_s=14, step=1, pictures=()),
        Finished(elapsed_s=14, step=1),
    ]
    assert report.stage_seconds(events) == {
        "starting": 1, "caching": 3, "training": 6, "saving": 1.5, "sampling": 2.5
    }  # fmt: skip


def test_a_folder_without_events_is_a_page_that_says_so(tmp_path: Path) -> None:
    path = report.write_report(tmp_path, comparison=Comparison(()))
    assert "cannot be said" in path.read_text(encoding="utf-8")


def test_rendering_needs_no_torch() -> None:
    code = (
        "import sys; from workbench.evaluation import page, report, diagnosis, curves;"
        "assert not {'torch', 'diffusers', 'plotly'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("found", "axis"), [([1e-6, 2e-3], "log"), ([0.5, 0.9], "linear")])
def test_a_step_size_that_grows_through_decades_is_drawn_by_decades(found: list[float], axis: str):
    from workbench.evaluation import curves

    steps = [Progress(step=i, loss=1.0, traces={"d": d}) for i, d in enumerate(found)]
    figure = curves.figures(steps, only=["d"])["d"]
    assert (figure.layout.yaxis.type or "linear") == axis
