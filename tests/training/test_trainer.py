"""What a recipe and a base are put together to."""

import os

import pytest
import torch
from tiny_recipes import assembled, tiny_recipe

from workbench.records.sampling import evaluating
from workbench.training import step as stepping


@pytest.mark.parametrize(("base", "unused"), [("tiny_sd", False), ("tiny_sdxl", True)])
def test_processes_expect_the_gradients_that_there_are(request, photos, tmp_path, base, unused):
    """SDXL reads its text encoders before their last layer, which then gets no gradient."""
    folder = request.getfixturevalue(base)
    trainer = assembled(tiny_recipe(folder, photos, tmp_path, "adapter.text_encoder=true"))
    assert trainer.accelerator.ddp_handler.find_unused_parameters is unused
    batch = trainer.batches.make(trainer.loader.step(0).micro_batches[0], step=0)
    stepping.batch_losses(trainer, batch).weighted.sum().backward()
    assert any(p.grad is None for p in trainer.trainables.values()) is unused


def test_deterministic_runs_let_cublas_be_deterministic(recipe, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        assembled(recipe("training.deterministic=true"))
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_share_of_an_unknown_number_of_steps_is_refused(recipe):
    timed = recipe("length.steps=none", "length.minutes=1", "schedule.warmup=0.1")
    with pytest.raises(ValueError, match=r"schedule\.warmup = 0\.1 is a share"):
        assembled(timed)
    assembled(timed.override(["schedule.warmup=10"]))


def test_measuring_takes_no_larger_batches_than_training(recipe, monkeypatch):
    trainer = assembled(recipe("training.batch_size=2", "validation.draws=3"))
    whole = assembled(recipe("training.batch_size=8", "validation.draws=3"))
    denoise, sizes = trainer.family.denoise, []

    def spy(noisy, *rest):
        sizes.append(len(noisy))
        return denoise(noisy, *rest)

    monkeypatch.setattr(trainer.family, "denoise", spy)
    with evaluating(trainer.family):
        found = trainer.stable_loss.measure(trainer.stable_losses)["train"].values
    with evaluating(whole.family):
        expected = whole.stable_loss.measure(whole.stable_losses)["train"].values
    assert set(sizes) == {2}
    assert found == pytest.approx(expected, rel=1e-5)
