"""Distances agree with torch, weights with the paper and with numbers on SD's schedule."""

from typing import get_args

import pytest
import torch
from diffusers import DDPMScheduler
from torch.nn import functional

from workbench.diffusion import losses
from workbench.diffusion.targets import signal_to_noise

LOSSES = get_args(get_args(losses.Loss)[0])
WEIGHTINGS = get_args(get_args(losses.Weighting)[0])
ALPHAS = DDPMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
).alphas_cumprod
SNR = signal_to_noise(torch.arange(1000), alphas_cumprod=ALPHAS)


def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 5, 6, generator=generator)


@pytest.mark.parametrize("member", LOSSES)
def test_contract(member):
    predicted, target = pair()
    each = member().per_sample(predicted, target)
    assert each.shape == (3,)
    assert (each > 0).all()
    assert torch.equal(member().per_sample(target, target), torch.zeros(3))
    assert torch.equal(each[1:], member().per_sample(predicted[1:], target[1:]))
    halves = member().per_sample(predicted.bfloat16(), target.bfloat16())
    assert halves.dtype == torch.float32
    moved = predicted.clone().requires_grad_()
    member().per_sample(moved, target).sum().backward()
    assert torch.equal(moved.grad.sign(), (predicted - target).sign())


def test_l2_and_l1_agree_with_torch():
    predicted, target = pair()
    assert torch.allclose(
        losses.L2().per_sample(predicted, target).mean(), functional.mse_loss(predicted, target)
    )
    assert torch.allclose(
        losses.L1().per_sample(predicted, target).mean(), functional.l1_loss(predicted, target)
    )


@pytest.mark.parametrize("threshold", [0.01, 0.1, 10.0])
def test_huber_is_square_near_zero_and_absolute_far_away(threshold):
    huber = losses.Huber(threshold=threshold)
    zero = torch.zeros(1, 1, 1, 1)
    near = huber.per_sample(zero + threshold / 30, zero).item()
    far = huber.per_sample(zero + 1000 * threshold, zero).item()
    assert near == pytest.approx((threshold / 30) ** 2, rel=0.01)
    assert far == pytest.approx(2 * threshold * (1000 * threshold - threshold), rel=0.01)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("member", WEIGHTINGS)
def test_weights_are_in_range_also_at_zero_terminal_snr(member, prediction):
    snr = torch.tensor([0.0, 1e-8, 1.0, 5.0, 1e6])
    weights = member().weights(snr, prediction)
    assert weights.shape == (5,)
    assert ((weights >= 0) & (weights <= 1)).all()


def test_min_snr_by_the_paper():
    min_snr = losses.MinSNR(gamma=5)
    snr = torch.tensor([0.5, 5.0, 20.0])
    assert min_snr.weights(snr, "epsilon").tolist() == pytest.approx([1, 1, 0.25])
    assert min_snr.weights(snr, "v_prediction").tolist() == pytest.approx([1 / 3, 5 / 6, 5 / 21])


def test_min_snr_mean_on_the_schedule_of_sd():
    assert losses.MinSNR().weights(SNR, "epsilon").mean().item() == pytest.approx(0.92, abs=0.005)
