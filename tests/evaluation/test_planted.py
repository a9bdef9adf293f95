"""Four runs with a planted fault, trained for a few steps, are each diagnosed by name."""

from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench import launch, store
from workbench.evaluation.diagnosis import diagnose
from workbench.recipe import Recipe

QUIET = ("output.report=false", "sampling.prompts=[]")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def recipe(tiny_sd: Path, photos: Path, tmp_path: Path):
    return lambda *changes: tiny_recipe(tiny_sd, photos, tmp_path / "runs", *QUIET, *changes)


def trained(recipe: Recipe) -> Path:
    run = launch.start(recipe)
    for _ in run.train():
        pass
    return run.folder


def test_prodigy_on_bfloat16_weights(recipe):
    """Weights of size .05 to .1 cannot take a first update of 3e-6 in bfloat16."""
    planted = recipe(
        "optimizer.kind=prodigy",
        "adapter.kind=full",
        "training.trainable_dtype=bfloat16",
        "training.stochastic_rounding=false",
        'checks.allow=["prodigy_bfloat16"]',
        "length.steps=14",
    )
    found = diagnose(trained(planted))
    assert found.faults[0].id == "d_stuck"
    assert "updates_lost" in [fault.id for fault in found.faults]
    assert found.sentence.startswith("It does not learn: prodigy's estimate d of the rate")
    assert "trainable_dtype" in found.fix


def test_an_average_longer_than_the_run(recipe):
    found = diagnose(trained(recipe("ema.decay=0.9999", "length.steps=8")))
    (fault,) = [fault for fault in found.faults if fault.id == "ema_unreachable"]
    assert "reached after 89,990 steps and the run has 8" in fault.sentence
    assert "ema.decay=" in fault.fix


def test_a_schedule_that_holds_the_rate_at_zero(recipe):
    planted = recipe(
        "schedule.kind=polynomial", "schedule.power=10", "schedule.end=0", "length.steps=14"
    )
    found = diagnose(trained(planted))
    (fault,) = [fault for fault in found.faults if fault.id == "rate_zero"]
    assert "schedule.kind=polynomial" in fault.evidence[0]
    assert "the schedule holds the learning rate at zero" in found.sentence


def test_a_latent_that_is_not_finite(recipe):
    chosen = recipe("length.steps=2", "name=first")
    trained(chosen)
    shards = sorted((store.cache_home() / "latents").rglob("*.safetensors"))
    for shard in shards:
        metadata, _ = store.read_header(shard)
        tensors = {name: t.clone() for name, t in store.load_tensors(shard).items()}
        for tensor in tensors.values():
            tensor[0] = float("nan")
        store.save_tensors(shard, tensors, metadata)
    try:
        run = launch.start(chosen.override(["name=second"]))
        with pytest.raises(ValueError, match="is NaN or infinite"):
            list(run.train())
        found = diagnose(run.folder)
    finally:
        for shard in shards:
            shard.unlink()
    assert found.faults[0].id == "nan_latent"
    assert "a cached latent is NaN or infinite" in found.sentence
    assert ".png: its latent in" in found.evidence[0]  # the picture is named


def test_a_sound_run_is_none_of_these(recipe):
    planted = recipe("length.steps=14", "optimizer.learning_rate=3e-3")
    found = diagnose(trained(planted))
    assert found.faults == ()
