"""The preflight measures the heaviest step, scales it up to the run, and leaves nothing behind."""

import tempfile
from pathlib import Path

import pytest
import torch
from typer import Exit

from workbench import store
from workbench.commands.preflight import show_preflight
from workbench.data.dataset import index
from workbench.training import trial
from workbench.training.preflight import Preflight, preflight
from workbench.training.trial import Load, Trial, heaviest


def measured(recipe) -> Preflight:
    stages = preflight(recipe)
    while True:
        try:
            next(stages)
        except StopIteration as end:
            return end.value


def files(folder: Path) -> set[Path]:
    """All but the memo of file hashes, which saves reading the base a second time."""
    found = folder.rglob("*") if folder.exists() else ()
    return {path for path in found if path.is_file() and "hashes.sqlite" not in path.name}


def test_the_heaviest_step_is_the_one_of_most_pixels(recipe):
    chosen = recipe("training.batch_size=2")
    load, whole = heaviest(chosen), index(chosen.data)
    counts: dict = {}
    for placement in whole.placements:
        counts[placement.bucket] = counts.get(placement.bucket, 0) + 1
    most = max(w * h * min(2, count) for (w, h), count in counts.items())
    width, height = load.bucket
    assert width * height * min(2, counts[load.bucket]) == most
    assert len(load.dataset) == min(2, counts[load.bucket])
    assert (load.num_pictures, load.total_steps) == (7, 4)


def test_a_recipe_is_measured_and_nothing_is_left(recipe, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    chosen = recipe('sampling.prompts=["{trigger}, red", "blue"]', "sampling.steps=6")
    before = files(store.cache_home())
    found = measured(chosen)
    assert found.fits
    assert files(store.cache_home()) == before
    assert list(scratch.iterdir()) == []
    assert not Path(chosen.output.folder).exists()
    assert found.trial.step_s > 0
    assert found.trial.peaks["step"] > 1e8  # this process holds torch
    assert found.trial.sizes["checkpoint"] > found.trial.sizes["lora"] > 1000
    assert found.trial.sizes["cached"] > 0
    assert {"training", "samples", "validation", "saving"} <= set(found.times_s)


def test_memory_that_runs_out_is_answered_with_what_fits(recipe, monkeypatch, capsys):
    step = trial.train_step

    def small_device(trainer, which):
        if trainer.recipe.training.batch_size > 1:
            raise torch.OutOfMemoryError("full")
        return step(trainer, which)

    monkeypatch.setattr(trial, "train_step", small_device)
    chosen = recipe("training.batch_size=4", "sampling.prompts=[]")
    with pytest.raises(Exit) as end:
        show_preflight(chosen)
    assert end.value.exit_code == 2
    said = capsys.readouterr().out
    assert "It does not fit: memory ran out in step" in said
    assert "It fits with: base.gradient_checkpointing=true" in said
    assert "training.batch_size=1 training.accumulation=4" in said


def test_figures_are_those_of_the_whole_run(recipe):
    chosen = recipe(
        "length.steps=100",
        "training.checkpoint_every=10",
        "training.lora_every=50",
        "validation.every_steps=20",
        "sampling.every_steps=25",
    )
    seconds = {"caching": 0.5, "validation": 2.0, "samples": 10.0, "saving": 1.0}
    sizes = {"checkpoint": 1000, "lora": 100, "samples": 10, "cached": 5}
    load = Load(index(chosen.data), (64, 64), 40, 100, 1)
    taken = Trial({"step": 7, "samples": 9}, 0.25, seconds, sizes)
    found = Preflight("CPU", chosen, load, taken, 100, 100)
    assert found.times_s == {
        "caching": 20.0,  # 40 pictures
        "training": 25.0,
        "validation": 12.0,  # the base and five times
        "samples": 50.0,  # the base and four times
        "saving": 10.0,
    }
    assert found.disk_bytes == {
        "checkpoints": 3000,  # two kept and one being written
        "LoRA files": 300,
        "samples": 50,
        "caches": 200,
        "report": 4 << 20,
    }
    assert found.cost(36.0) == pytest.approx(1.17)  # 117 s
    assert taken.peak == 9


def test_a_run_of_minutes_takes_its_minutes(recipe):
    chosen = recipe("length.steps=none", "length.minutes=30")
    load = Load(index(chosen.data), (64, 64), 7, None, 1)
    found = Preflight("CPU", chosen, load, Trial({}, 0.25), 100, 100)
    assert sum(found.times_s.values()) == 1800
