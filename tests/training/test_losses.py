"""Weights, masks and priors on their way from the recipe into the step, and losses by timestep."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_recipes import SIZES, assembled, tiny_recipe, write_photos

from workbench.diffusion.losses import mask_weights
from workbench.training import step as stepping
from workbench.training.run import Run


def told(recipe, kind: str):
    run = Run(recipe, Path(recipe.output.folder) / recipe.name)
    return [event for event in run.train() if event.event == kind]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["weighting.kind=min_snr"], "weighting min_snr has a mean of 0.92 over"),
        (["weighting.kind=soft_min_snr"], "soft_min_snr has a mean of 0.80"),
        (["weighting.kind=debiased"], "debiased has a mean of 3.02"),
        (["weighting.kind=p2"], "p2 has a mean of 0.63"),
        (["weighting.kind=p2", "weighting.normalise=true"], "0.63 .* which is divided out"),
    ],
)
def test_the_factor_on_the_learning_rate_is_said_at_the_start(recipe, overrides, said):
    warned = told(recipe(*overrides, "length.steps=1", "output.report=false"), "warned")
    (note,) = [event for event in warned if event.id == "weighting-factor"]
    assert re.search(said, note.message)
    assert bool(note.fix) is ("divided out" not in note.message)


def test_no_weighting_says_nothing(recipe):
    warned = told(recipe("length.steps=1", "output.report=false"), "warned")
    assert not [event for event in warned if event.id == "weighting-factor"]


def test_every_step_tells_its_losses_by_timestep(recipe):
    chosen = recipe("training.accumulation=3", "output.report=false")
    for event in told(chosen, "progress"):
        samples = sum(found.samples for found in event.timestep_losses)
        assert 1 <= samples <= 6
        mean = sum(found.loss * found.samples for found in event.timestep_losses) / samples
        assert mean == pytest.approx(event.loss, rel=1e-4)
        assert all(found.high - found.low == 100 for found in event.timestep_losses)


def test_losses_by_timestep_are_before_the_weights(recipe):
    plain = told(recipe("name=plain", "length.steps=1", "output.report=false"), "progress")
    weighted = told(
        recipe("name=heavy", "weighting.kind=debiased", "length.steps=1", "output.report=false"),
        "progress",
    )
    assert plain[0].timestep_losses == weighted[0].timestep_losses
    assert plain[0].loss != pytest.approx(weighted[0].loss, rel=0.01)


@pytest.fixture
def masked(tmp_path) -> Path:
    """The usual pictures, the left half of all but the last to be learnt."""
    folder = write_photos(tmp_path / "masked")
    for number, (width, height) in enumerate(SIZES[:-1]):
        mask = Image.new("L", (width, height), 0)
        mask.paste(255, (0, 0, width // 2, height))
        mask.save(folder / f"{number:02d}-mask.png")
    return folder


def batches(trainer):
    return [
        (micro, trainer.batches.make(micro, step=0))
        for step in map(trainer.loader.step, range(trainer.loader.steps_per_epoch))
        for micro in step.micro_batches
    ]


@pytest.mark.parametrize("cached", [True, False])
def test_masks_reach_the_step_cut_and_mirrored_as_their_pictures(tiny_sd, masked, tmp_path, cached):
    trainer = assembled(
        tiny_recipe(
            *(tiny_sd, masked, tmp_path / "runs"),
            *("data.augment.flip=0.5", "data.masks.unmasked_weight=0", "training.batch_size=3"),
            f"data.cache.latents={str(cached).lower()}",
        )
    )
    seen = set()
    for micro, batch in batches(trainer):
        if all(trainer.dataset.masks[record] is None for record in batch.records):
            assert batch.mask is None
            continue
        assert batch.mask.shape == (len(micro.items), 1, *batch.latents.shape[-2:])
        for item, mask in zip(micro.items, batch.mask, strict=True):
            assert mask.mean().item() == pytest.approx(1, rel=1e-5)
            left, right = mask[..., 0].mean().item(), mask[..., -1].mean().item()
            if trainer.dataset.masks[item.record] is None:
                assert (left, right) == (1, 1)
                continue
            assert (left, right) == pytest.approx((0, 2) if item.flipped else (2, 0), abs=0.3)
            seen.add(item.flipped)
    assert seen == {True, False}


def test_a_masked_step_is_the_masked_mean(tiny_sd, masked, tmp_path):
    trainer = assembled(tiny_recipe(tiny_sd, masked, tmp_path / "runs", "training.batch_size=3"))
    _, batch = next(pair for pair in batches(trainer) if pair[1].mask is not None)
    asked = stepping.question(trainer, batch)
    with torch.no_grad():
        found = stepping.batch_losses(trainer, batch)
        predicted = trainer.model(asked.noisy, asked.level, batch)
    shares = [trainer.dataset.mask(record) for record in batch.records]
    whole = torch.ones(batch.latents.shape[-2:])
    stacked = torch.stack([whole if share is None else share for share in shares])[:, None]
    weights = mask_weights(stacked, unmasked_weight=0.1, normalise=True)
    expected = ((predicted - asked.target).square() * weights).mean(dim=(1, 2, 3))
    torch.testing.assert_close(found.weighted, expected, rtol=1e-5, atol=1e-6)
    plain = (predicted - asked.target).square().mean(dim=(1, 2, 3))
    assert not torch.allclose(found.weighted, plain)


def test_a_prior_counts_by_its_weight(tiny_sd, photos, tmp_path):
    ordinary = shutil.copytree(photos, tmp_path / "ordinary")
    for text in ordinary.glob("*.txt"):
        text.unlink()
    subset = f'{{path={str(ordinary)!r}, is_prior=true, class_word="disc", loss_weight=0.25}}'
    trainer = assembled(
        tiny_recipe(
            *(tiny_sd, photos, tmp_path / "runs"),
            f'data.subsets=[{{path={str(photos)!r}, trigger="zib"}}, {subset}]',
            "training.batch_size=4",
        )
    )
    kinds = set()
    for _, batch in batches(trainer):
        is_prior = [record in trainer.dataset.priors for record in batch.records]
        assert batch.weights.tolist() == [0.25 if one else 1.0 for one in is_prior]
        for caption, one in zip(batch.captions, is_prior, strict=True):
            assert caption == "disc" if one else caption.startswith("zib, ")
        kinds |= set(is_prior)
        with torch.no_grad():
            found = stepping.batch_losses(trainer, batch)
        torch.testing.assert_close(found.weighted, found.plain * batch.weights)
    assert kinds == {True, False}
    assert not {*trainer.stable_loss.records["train"]} & trainer.dataset.priors
