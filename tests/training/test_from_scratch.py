"""From nothing, in stages: loss near 1, rollback points, larger pictures later."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from tiny_recipes import tiny_recipe, write_photos

import workbench as wb
from workbench import store
from workbench.recipe import PRESETS, Recipe
from workbench.records import checkpoint
from workbench.records.events import Progress, Saved
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


def sdxl(base: Path, tmp_path: Path, *overrides: str) -> Recipe:
    """The shipped recipe on a tiny base of the same classes: its sizes and its length are cut."""
    photos = tmp_path / "photos"
    return Recipe.preset("sdxl-unet-from-scratch").override(
        [
            f"base.path={base}",
            f"data.subsets.0.path={photos if photos.exists() else write_photos(photos)}",
            "data.buckets={resolution=64, step=16}",
            "training.batch_size=4",
            "length.steps=3",
            "schedule.warmup=1",
            "validation={num_images=1, num_bins=1, draws=1}",
            "sampling={prompts=[], width=64, height=64, steps=2}",
            "optimizer.min_8bit_size=16",  # weights are small, and shall be kept in 8 bits here too
            f"output.folder={tmp_path / 'runs'}",
            *overrides,
        ]
    )


@pytest.fixture(scope="module")
def finished(tiny_sdxl: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict]:
    """Four steps with checkpoints after each; the third is kept aside, as a kill leaves it."""
    folder = tmp_path_factory.mktemp("sdxl")
    changes = ("length.steps=4", "training.checkpoint_every=1", "training.keep_checkpoints=2")
    run = Run(sdxl(tiny_sdxl, folder, *changes), folder / "runs" / "whole")
    seen: dict[int, float] = {}
    for event in run.train():
        if isinstance(event, Progress):
            seen[event.step] = event.loss
        if isinstance(event, Saved) and event.step == 3:
            shutil.copytree(run.folder, folder / "runs" / "killed")
            (folder / "runs" / "killed" / "lock.json").unlink()
    return run, seen


def test_the_sdxl_preset_starts_at_one(finished: tuple[Run, dict]) -> None:
    run, seen = finished
    assert list(seen) == [1, 2, 3, 4]
    assert seen[1] == pytest.approx(1, abs=0.1)
    settings = run.recipe
    assert (settings.optimizer.kind, settings.ema, settings.base.gradient_checkpointing) == (
        *("lion8bit", None, True),
    )
    optimizer = run.trainer.optimizer.optimizer
    kept = [t for state in optimizer.state.values() for t in state.values()]
    assert {t.dtype for t in kept if isinstance(t, torch.Tensor)} >= {torch.uint8}
    assert {p.dtype for p in run.trainer.trainables.values()} == {torch.bfloat16}


def test_a_limit_on_checkpoints_holds(finished: tuple[Run, dict]) -> None:
    names = sorted(path.name for path in (finished[0].folder / "checkpoints").iterdir())
    assert names == ["step-000003", "step-000004"]


def test_a_killed_run_goes_on_to_the_same_bits(finished: tuple[Run, dict]) -> None:
    """Rounding at random, weights in bfloat16 and 8-bit averages included."""
    run, seen = finished
    again = wb.resume(run.folder.with_name("killed"))
    assert losses(again) == {4: seen[4]}
    assert again.state.loaded is None  # a second set of weights does not stay in memory
    for part, tensors in checkpoint.newest_valid(run.folder).bundle.tensors.items():
        resumed = checkpoint.newest_valid(again.folder).bundle.tensors[part]
        assert tensors.keys() == resumed.keys()
        assert all(torch.equal(tensor, resumed[name]) for name, tensor in tensors.items())


def test_diffusers_loads_the_result(finished: tuple[Run, dict]) -> None:
    run, _ = finished
    theirs, info = UNet2DConditionModel.from_pretrained(
        run.final_lora / "unet", output_loading_info=True, torch_dtype=torch.float16
    )
    assert not any(info.values())
    ours = run.trainer.family.parts["unet"]
    assert all(
        torch.equal(weight, ours.get_parameter(name).half())
        for name, weight in theirs.named_parameters()
    )


def test_one_file_for_sd_scripts_and_uis(tiny_sdxl: Path, tmp_path: Path) -> None:
    """Stability's names of all four parts, as diffusers' reader of such files takes them."""
    recipe = sdxl(tiny_sdxl, tmp_path, "length.steps=1", "adapter.layout=single_file")
    recipe = recipe.override(["schedule.warmup=0"])
    run = Run(recipe, tmp_path / "run")
    assert losses(run)[1] == pytest.approx(1, abs=0.1)
    names = store.read_header(run.final_lora)[1]
    unet = run.trainer.family.parts["unet"]
    prefix = "model.diffusion_model."
    tensors = {n: t for n, t in store.load_tensors(run.final_lora).items() if n.startswith(prefix)}
    read = convert_ldm_unet_checkpoint(tensors, {**unet.config, "class_embed_type": None})
    assert read.keys() == unet.state_dict().keys()
    assert all(torch.equal(t, unet.get_parameter(name).half()) for name, t in read.items())
    for beginning in (
        "first_stage_model.decoder.",
        "conditioner.embedders.0.transformer.text_model.",
        "conditioner.embedders.1.model.transformer.resblocks.",
    ):
        assert any(name.startswith(beginning) for name in names), beginning


def test_stages_named_in_the_preset_fit_each_other() -> None:
    """The commands in its first lines; a step learns from as many pictures in each stage."""
    text = (PRESETS / "sdxl-unet-from-scratch.toml").read_text()
    commands = [
        line.split() for line in text.splitlines() if line.startswith("#   workbench resume")
    ]
    recipe, sides = Recipe.preset("sdxl-unet-from-scratch"), []
    for words in ([], *commands):
        recipe = recipe.override([word for word in words if "=" in word])
        sides.append(recipe.data.buckets.resolution)
        assert recipe.training.batch_size * recipe.training.accumulation == 64
        assert recipe.data.buckets.bounds == (sides[-1] // 2, 2 * sides[-1])
    assert sides == [256, 512, 1024]
    assert recipe.training.checkpoint_every == 1000


def test_the_critters_learn_by_the_same_path(tmp_path: Path) -> None:
    """From 1 down in the first steps; benchmarks/from_scratch.py --smoke goes on to 200."""
    recipe = Recipe.preset("critters-base").override(
        [
            *("base.from_scratch.weights=small_normal", "base.dtype=bfloat16", "ema=none"),
            *("base.gradient_checkpointing=true", "adapter.keep_start=false"),
            *("training.precision=bfloat16", "training.trainable_dtype=bfloat16"),
            *("optimizer={kind='lion8bit', learning_rate=1e-3}", "weighting.kind=constant"),
            *("schedule={kind='constant', warmup=2}", "data.subsets.0.num_images=100"),
            *("data.buckets={resolution=64, step=16}", "training.batch_size=4"),
            "validation={every_steps=1000, num_images=1, num_bins=1, draws=1}",
            *("sampling.prompts=[]", "length.steps=16"),
        ]
    )
    seen = list(losses(Run(recipe, tmp_path / "run")).values())
    assert seen[0] == pytest.approx(1, abs=0.1)
    assert sum(seen[-4:]) / 4 < 0.85
