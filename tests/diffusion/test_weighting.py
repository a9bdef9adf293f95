"""Weights agree with papers and other trainers, their means with numbers on SD's schedule."""

from typing import get_args

import numpy
import pytest
import torch
from diffusers import DDPMScheduler

from workbench.diffusion import weighting
from workbench.diffusion.timesteps import Uniform
from workbench.process import DiscreteVP

WEIGHTINGS = get_args(get_args(weighting.Weighting)[0])
ALPHAS = DDPMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
).alphas_cumprod
SNR = DiscreteVP(ALPHAS, "epsilon").snr(torch.arange(1000))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("member", WEIGHTINGS)
def test_contract(member, prediction):
    """Finite and not negative, also at zero terminal SNR; each sample alone; on any device."""
    snr = torch.tensor([0.0, 1e-8, 1.0, 5.0, 1e6])
    weights = member().weights(snr, prediction)
    assert weights.shape == (5,) and weights.dtype == snr.dtype
    assert weights.isfinite().all() and (weights >= 0).all()
    assert torch.equal(weights[2:], member().weights(snr[2:], prediction))


@pytest.mark.parametrize("member", [m for m in WEIGHTINGS if m is not weighting.Debiased])
def test_all_but_debiased_only_take_away(member):
    for prediction in ("epsilon", "v_prediction"):
        assert member().weights(SNR, prediction).max() <= 1


R = numpy.array([0.00468, 0.5, 5.0, 20.0, 1175.0])  # signal-to-noise ratios
CAPPED = numpy.minimum(R, 1000)
GOLDEN = [  # what, weights for epsilon, weights for v; sd-scripts (K) and OneTrainer (OT)
    (weighting.MinSNR(gamma=5), numpy.minimum(R, 5) / R, numpy.minimum(R, 5) / (R + 1)),  # K, OT
    (weighting.MinSNR(gamma=1), numpy.minimum(R, 1) / R, numpy.minimum(R, 1) / (R + 1)),
    (weighting.SoftMinSNR(gamma=5), 5 / (R + 5), 5 / (R + 5) * R / (R + 1)),
    (weighting.Debiased(velocity="linear"), 1 / numpy.sqrt(CAPPED), 1 / (CAPPED + 1)),  # K
    (weighting.Debiased(velocity="root"), 1 / numpy.sqrt(CAPPED), 1 / numpy.sqrt(CAPPED + 1)),  # OT
    (weighting.P2(gamma=1), 1 / (1 + R), 1 / (1 + R)),
    (weighting.P2(gamma=0.5), (1 + R) ** -0.5, (1 + R) ** -0.5),
    (weighting.Constant(), R**0, R**0),
]


@pytest.mark.parametrize("settings, epsilon, velocity", GOLDEN, ids=lambda x: str(x)[:40])
def test_weights_by_formula(settings, epsilon, velocity):
    snr = torch.tensor(R, dtype=torch.float64)
    numpy.testing.assert_allclose(settings.weights(snr, "epsilon"), epsilon, rtol=1e-9)
    numpy.testing.assert_allclose(settings.weights(snr, "v_prediction"), velocity, rtol=1e-9)


@pytest.mark.parametrize("member", [weighting.MinSNR, weighting.SoftMinSNR])
def test_velocity_counts_the_same_error_the_same(member):
    """v-loss = (SNR + 1) x0-loss and eps-loss = SNR x0-loss, so the weights differ by the ratio."""
    both = [member().weights(SNR, prediction) for prediction in ("epsilon", "v_prediction")]
    torch.testing.assert_close(both[0] * SNR, both[1] * (SNR + 1), rtol=1e-5, atol=0)


# The factor that each puts on loss and gradients, on the schedule of SD, for epsilon.
@pytest.mark.parametrize(
    "settings, mean",
    [
        (weighting.Constant(), 1.0),
        (weighting.MinSNR(), 0.92),
        (weighting.SoftMinSNR(), 0.80),
        (weighting.Debiased(), 3.0),
        (weighting.P2(), 0.63),
    ],
    ids=lambda x: str(x)[:20],
)
def test_mean_on_the_schedule_of_sd(settings, mean):
    weights = settings.weights(SNR, "epsilon").double()
    assert float(weights.mean()) == pytest.approx(mean, abs=0.025)
    assert float(weights @ Uniform().density()) == pytest.approx(float(weights.mean()))
