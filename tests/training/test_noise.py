"""A run trains with the noise and the schedule that its recipe names, and its file says so."""

from typing import get_args

import pytest
import torch
from tiny_recipes import assembled

from workbench import seeds
from workbench.diffusion import noise, weighting
from workbench.settings import SettingsError
from workbench.training import step as stepping
from workbench.training.description import describe


def first_batch(trainer):
    micro = trainer.loader.step(0).micro_batches[0]
    return trainer.batches.make(micro, step=0)


def test_input_perturbation_goes_in_and_is_not_asked_for(recipe) -> None:
    trainer = assembled(recipe("noise.kind=input_perturbation", "noise.gamma=0.5"))
    batch = first_batch(trainer)
    asked = stepping.question(trainer, batch)
    generator = seeds.generator(0, "noise", batch.index, 0)
    pair = noise.InputPerturbation(gamma=0.5).pair(batch.latents, generator)
    assert torch.equal(asked.target, pair.target)
    a = trainer.family.process.alphas[asked.level][:, None, None, None]
    expected = a.sqrt() * batch.latents + (1 - a).sqrt() * pair.input
    assert torch.allclose(asked.noisy, expected, atol=1e-5)
    found = describe(trainer, step=0)
    assert found["ss_ip_noise_gamma"] == "0.5"
    assert found["ss_zero_terminal_snr"] == "False"


def test_zero_terminal_snr_trains_at_its_end(recipe) -> None:
    trainer = assembled(
        recipe(
            "base.prediction=v_prediction",
            "base.zero_terminal_snr=true",
            "timesteps.lowest=999",
            "noise.kind=offset",
            "noise.strength=0.1",
        )
    )
    batch = first_batch(trainer)
    asked = stepping.question(trainer, batch)
    # Nothing of the picture goes in, and all that is asked for is the picture.
    assert trainer.family.process.alphas[-1] == 0
    drawn = noise.Offset(strength=0.1).draw(
        batch.latents, seeds.generator(0, "noise", batch.index, 0)
    )
    assert torch.equal(asked.noisy, drawn)
    assert torch.equal(asked.target, -batch.latents)
    assert stepping.batch_losses(trainer, batch).weighted.isfinite().all()
    found = describe(trainer, step=0)
    assert found["ss_zero_terminal_snr"] == "True"
    assert found["ss_noise_offset"] == "0.1"
    assert found["modelspec.prediction_type"] == "v"


def test_every_weighting_stays_finite_where_no_signal_is_left() -> None:
    snr = torch.cat([torch.zeros(1), torch.logspace(-8, 8, 50)])
    for member in get_args(get_args(weighting.Weighting)[0]):
        found = member().weights(snr, "v_prediction")
        assert found.isfinite().all() and (found >= 0).all(), member


def test_sampling_that_leaves_out_the_end_is_refused_before_training(recipe) -> None:
    settings = ("base.prediction=v_prediction", "base.zero_terminal_snr=true")
    with pytest.raises(SettingsError, match=r'sampling\.spacing must be "trailing"'):
        assembled(recipe(*settings, "sampling.spacing=leading"))
