"""What a LoRA file says of its run, what a resume changed, and paths that hold anywhere."""

import json
import os
from pathlib import Path

import pytest
from tiny_recipes import assembled, tiny_recipe, write_photos

from workbench import store
from workbench.launch import resume, start
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import Progress, Resumed
from workbench.training.description import describe


@pytest.fixture
def recipe(tiny_sd: Path, tmp_path: Path):
    photos = write_photos(tmp_path / "photos", 4)
    quiet = ("sampling.prompts=[]", "output.report=false")
    return lambda *more: tiny_recipe(tiny_sd, photos, tmp_path / "runs", *quiet, *more)


def test_it_says_what_was_trained_and_nothing_else(recipe):
    plain = describe(assembled(recipe()), step=4)
    assert "ss_text_encoder_lr" not in plain and plain["ss_unet_lr"] == "0.01"
    assert not plain.keys() & {"ss_min_snr_gamma", "ss_huber_c", "ss_prior_loss_weight"}
    assert (plain["ss_loss_type"], plain["ss_num_reg_images"]) == ("l2", "0")
    both = describe(
        assembled(recipe("adapter.text_encoder=true", "optimizer.text_encoder_learning_rate=1e-3")),
        step=4,
    )
    assert both["ss_text_encoder_lr"] == "0.001"


def test_it_uses_the_names_that_readers_know(recipe, tmp_path):
    prior = write_photos(tmp_path / "prior", 3)
    subset = {"path": str(prior), "is_prior": True, "class_word": "disc", "loss_weight": 0.5}
    own = {"path": str(tmp_path / "photos"), "trigger": "zib"}
    chosen = recipe(
        "weighting.kind=min_snr",
        "weighting.gamma=4",
        "loss.kind=huber",
        "schedule.warmup=2",
        "data.captions.tag_dropout=0.3",
        f"data.subsets={json.dumps([own, subset])}",
    )
    found = describe(assembled(chosen), step=4)
    expected = {
        "ss_min_snr_gamma": "4.0",
        "ss_loss_type": "huber",
        "ss_huber_c": "0.1",
        "ss_lr_warmup_steps": "2",
        "ss_caption_tag_dropout_rate": "0.3",
        "ss_num_train_images": "4",
        "ss_num_reg_images": "3",
        "ss_prior_loss_weight": "0.5",
        "ss_num_epochs": "1",
    }
    assert {name: found[name] for name in expected} == expected


def test_what_a_resume_changed_is_in_event_and_file(recipe):
    run = start(recipe("schedule.kind=constant"))
    list(run.train())
    longer = resume(run.folder, ["length.steps=+2", "optimizer.learning_rate=0.005"], accept=True)
    events = list(longer.train())
    lines = ("length.steps: 4 -> 6", "optimizer.learning_rate: 0.01 -> 0.005")
    assert [e.changes for e in events if isinstance(e, Resumed)] == [lines]
    metadata, _ = store.read_header(longer.final_lora)
    assert json.loads(metadata["workbench.changes"]) == [f"step 4: {line}" for line in lines]
    again = resume(run.folder, ["length.steps=+1"])
    list(again.train())
    metadata, _ = store.read_header(again.final_lora)
    said = json.loads(metadata["workbench.changes"])
    assert said == [*(f"step 4: {line}" for line in lines), "step 6: length.steps: 6 -> 7"]


def test_a_step_says_the_rate_that_it_used(recipe):
    """A linear warm-up of four steps uses nothing, a quarter, a half, three quarters."""
    run = start(recipe("schedule.kind=constant", "schedule.warmup=4", "length.steps=6"))
    rates = [e.learning_rates["unet"] for e in run.train() if isinstance(e, Progress)]
    assert rates == pytest.approx([0, 0.0025, 0.005, 0.0075, 0.01, 0.01])


def test_files_by_epoch_and_how_many_stay(recipe):
    run = start(recipe("length.epochs=4", "length.steps=none", "training.lora_every_epochs=1",
                       "training.keep_loras=2"))  # fmt: skip
    list(run.train())
    steps = run.trainer.loader.steps_per_epoch
    kept = sorted(path.name for path in (run.folder / "lora").iterdir())
    along = [f"tiny-step{k * steps:06d}.safetensors" for k in (3, 4)]
    assert kept == [*along, "tiny.safetensors"]


def test_relative_paths_are_meant_from_the_recipes_own_file(recipe, tmp_path, monkeypatch):
    chosen = recipe('data.subsets.0.path="photos"')
    home = tmp_path / "recipes"
    write_photos(home / "photos", 2)
    (home / "x.toml").write_text(chosen.to_toml())
    elsewhere = tmp_path / "elsewhere"
    write_photos(elsewhere / "photos", 5)
    monkeypatch.chdir(elsewhere)
    read = Recipe.load("../recipes/x.toml")
    assert Path(read.data.subsets[0].path).resolve() == (home / "photos").resolve()
    assert Recipe.load(home / "x.toml").override(["base.path=critters"]).base.path == "critters"
    assert Recipe.preset("sd15-lora").base.path == "stable-diffusion-v1-5/stable-diffusion-v1-5"


def test_a_run_goes_on_from_any_working_directory(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = start(recipe('data.subsets.0.path="photos"'), folder="run")
    list(run.train())
    kept = Recipe.load(tmp_path / "run" / "recipe.toml")
    assert os.path.isabs(kept.data.subsets[0].path)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    more = resume(tmp_path / "run", ["length.steps=+2"])
    assert list(more.train())[-1].step == 6
    assert log.read(tmp_path / "run")[-1].event == "finished"
