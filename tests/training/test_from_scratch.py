"""From nothing, in stages: loss near 1, rollback points, larger pictures later."""

import json
from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

import workbench as wb
from workbench.recipe import Recipe
from workbench.records.events import Progress
from workbench.training.run import Run

FULL = ("adapter.kind=full", "base.from_scratch.weights=small_normal", "optimizer.kind=lion")


def losses(run: Run) -> dict[int, float]:
    return {event.step: event.loss for event in run.train() if isinstance(event, Progress)}


def test_a_second_stage_goes_on_with_larger_pictures(tiny_sd: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    recipe = tiny_recipe(
        tiny_sd, photos, tmp_path / "runs", *FULL, "data.buckets.resolution=32", "length.steps=2"
    )
    run = wb.start(recipe)
    first = losses(run)
    assert first[1] == pytest.approx(1, abs=0.1)  # zero output predicts zero: the noise's variance
    changes = ["length.steps=+2", "data.buckets.resolution=64", "training.batch_size=1"]
    second = losses(wb.resume(run.folder, changes, accept=True))
    assert list(second) == [3, 4]
    assert Recipe.load(run.folder / "recipe.toml").data.buckets.resolution == 64
    steps = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert [e["step"] for e in steps if e["event"] == "progress"] == [1, 2, 3, 4]


def test_the_sdxl_preset_starts_at_one(tiny_sdxl: Path, tmp_path: Path) -> None:
    """The shipped recipe, but for its size."""
    photos = write_photos(tmp_path / "photos")
    recipe = Recipe.preset("sdxl-unet-from-scratch").override(
        [
            f"base.path={tiny_sdxl}",
            f"data.subsets.0.path={photos}",
            "data.buckets={resolution=64, step=16, min_side=32, max_side=128}",
            "training.batch_size=4",
            "length.steps=3",
            "schedule.warmup=1",
            "validation.every_steps=none",
            "sampling.prompts=[]",
            f"output.folder={tmp_path / 'runs'}",
        ]
    )
    seen = losses(wb.start(recipe))
    assert list(seen) == [1, 2, 3]
    assert seen[1] == pytest.approx(1, abs=0.1)
