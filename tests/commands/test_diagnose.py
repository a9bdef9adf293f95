"""`workbench diagnose RUN`: the verdict of a run folder, the same as in its report."""

from pathlib import Path

import pytest
from PIL import Image
from tiny_recipes import tiny_recipe, write_photos

from workbench import cli
from workbench.evaluation import report
from workbench.records.events import Event, Progress, Sampled, SampledPicture, Started, Validated
from workbench.records.log import EventLog


@pytest.fixture
def stuck(tmp_path: Path) -> Path:
    """A run of Prodigy whose d never moved, and whose sample is a training picture."""
    photos, folder = write_photos(tmp_path / "photos", 6), tmp_path / "stuck"
    (folder / "samples").mkdir(parents=True)
    with Image.open(photos / "03.png") as image:
        image.save(folder / "samples" / "a.png")
    shown = (SampledPicture(prompt="a", seed=0, path="samples/a.png"),)
    recipe = tiny_recipe(tmp_path / "none", photos, tmp_path, "optimizer.kind=prodigy")
    (folder / "recipe.toml").write_text(recipe.to_toml())
    steps: list[Event] = [
        Progress(
            step=k, loss=1.0, gradient_norm=1.0, learning_rates={"unet": 1.0}, traces={"d": 1e-6}
        )
        for k in range(1, 21)
    ]
    with EventLog(folder) as log:
        for event in (
            Started(run="stuck", recipe_hash="", total_steps=20),
            *steps,
            Validated(step=20, split="train", loss=1.0, base_loss=1.0),
            Sampled(step=20, pictures=shown),
        ):
            log.append(event)
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


def test_the_verdict_with_its_evidence_fix_and_names(stuck: Path, capsys: pytest.CaptureFixture):
    assert run("diagnose", str(stuck)) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("It does not learn: prodigy's estimate d of the rate has never left d0")
    said = "\n".join(rest)
    assert "Fix: set optimizer.d0=1e-4" in said
    assert "Named: d_stuck" in said
    assert report.gather(stuck).verdict.sentence == first


def test_no_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run("diagnose", str(tmp_path)) == 2
    assert "is no run folder" in capsys.readouterr().err


def test_pictures_that_are_gone_are_said(stuck: Path, capsys: pytest.CaptureFixture):
    for photo in (stuck.parent / "photos").iterdir():
        photo.unlink()
    assert run("diagnose", str(stuck)) == 0
    assert "whether samples copy training pictures cannot be said" in capsys.readouterr().out
