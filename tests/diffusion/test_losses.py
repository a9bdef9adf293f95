"""Distances agree with torch and with the published formulas; masks with OneTrainer's."""

import math
from typing import get_args

import numpy
import pytest
import torch
from torch.nn import functional

from workbench.diffusion import losses
from workbench.diffusion.losses import Level

LOSSES = get_args(get_args(losses.Loss)[0])
SCHEDULES = get_args(get_args(losses.ThresholdSchedule)[0])
VARIANTS = [member() for member in LOSSES] + [
    member(schedule=schedule())
    for member in (losses.Huber, losses.SmoothL1)
    for schedule in SCHEDULES
]
LEVEL = Level(torch.tensor([0.0, 0.5, 0.999]), torch.tensor([1175.0, 1.0, 0.0]))
ZERO = Level(torch.zeros(1), torch.ones(1))


def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 4, 5, 6, generator=generator)


@pytest.mark.parametrize("loss", VARIANTS, ids=str)
def test_contract(loss):
    predicted, target = pair()
    each = loss.each(predicted, target, LEVEL)
    assert each.shape == predicted.shape
    assert (each >= 0).all() and each.isfinite().all()
    assert torch.equal(loss.each(target, target, LEVEL), torch.zeros_like(target))
    rest = Level(*(part[1:] for part in LEVEL))
    assert torch.equal(each[1:], loss.each(predicted[1:], target[1:], rest))
    halves = loss.each(predicted.bfloat16(), target.bfloat16(), LEVEL)
    assert halves.dtype == torch.float32
    moved = predicted.clone().requires_grad_()
    loss.each(moved, target, LEVEL).sum().backward()
    assert torch.equal(moved.grad.sign(), (predicted - target).sign())


def test_l2_and_l1_agree_with_torch():
    predicted, target = pair()
    squared = losses.per_sample(losses.L2().each(predicted, target, LEVEL))
    assert torch.allclose(squared.mean(), functional.mse_loss(predicted, target))
    absolute = losses.per_sample(losses.L1().each(predicted, target, LEVEL))
    assert torch.allclose(absolute.mean(), functional.l1_loss(predicted, target))


def kohya(distance, *, kind, c, schedule, t, alpha_bar):
    """sd-scripts' conditional_loss and get_huber_threshold_if_needed, in numpy."""
    if schedule == "exponential":
        c = numpy.exp(-(-math.log(c) / 1000) * t)
    elif schedule == "snr":
        sigma = numpy.sqrt((1 - alpha_bar) / alpha_bar)
        c = (1 - c) / (1 + sigma) ** 2 + c
    rounded = numpy.sqrt(distance**2 + c**2) - c
    return 2 * c * rounded if kind == "huber" else 2 * rounded


@pytest.mark.parametrize("c", [0.03, 0.1, 0.5])
@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
@pytest.mark.parametrize("kind", ["huber", "smooth_l1"])
def test_robust_losses_are_those_of_sd_scripts(kind, schedule, c):
    distance = numpy.array([-3.0, -0.1, 0.02, 0.7, 40.0])
    member = {"huber": losses.Huber, "smooth_l1": losses.SmoothL1}[kind]
    ours = member.model_validate({"threshold": c, "schedule": {"kind": schedule}})
    for t, alpha_bar in ((0, 0.99915), (400, 0.37), (999, 0.00466)):
        level = Level(torch.tensor([t / 1000]), torch.tensor([alpha_bar / (1 - alpha_bar)]))
        predicted = torch.tensor(distance, dtype=torch.float32).view(1, 1, 1, -1)
        found = ours.each(predicted, torch.zeros_like(predicted), level).flatten().numpy()
        expected = kohya(distance, kind=kind, c=c, schedule=schedule, t=t, alpha_bar=alpha_bar)
        numpy.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.parametrize("threshold", [0.01, 0.1, 10.0])
def test_robust_losses_are_square_near_zero_and_absolute_far_away(threshold):
    huber, smooth = losses.Huber(threshold=threshold), losses.SmoothL1(threshold=threshold)
    zero = torch.zeros(1, 1, 1, 1)
    near, far = threshold / 30, 1000 * threshold
    assert huber.each(zero + near, zero, ZERO).item() == pytest.approx(near**2, rel=0.01)
    assert smooth.each(zero + near, zero, ZERO).item() == pytest.approx(
        near**2 / threshold, rel=0.01
    )
    assert huber.each(zero + far, zero, ZERO).item() == pytest.approx(2 * threshold * far, rel=0.01)
    assert smooth.each(zero + far, zero, ZERO).item() == pytest.approx(2 * far, rel=0.01)


def test_small_distances_keep_their_digits():
    """sqrt(d^2 + c^2) - c as it stands would be 0 in float32."""
    d = torch.full((1, 1, 1, 1), 1e-5)
    found = losses.Huber(threshold=1.0).each(d, torch.zeros_like(d), ZERO).item()
    assert found == pytest.approx(1e-10, rel=1e-4)


def masks():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 1, 5, 6, generator=generator).square()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
def test_masked_losses_are_those_of_onetrainer(floor, normalise):
    predicted, target = pair()
    weights = losses.mask_weights(masks(), unmasked_weight=floor, normalise=normalise)
    found = losses.per_sample(losses.L2().each(predicted, target, LEVEL), weights)
    each = (predicted - target).numpy().astype("float64") ** 2
    clamped = numpy.clip(masks().numpy().astype("float64"), floor, 1)
    each = each * clamped
    if normalise:
        each = each / clamped.mean(axis=(1, 2, 3), keepdims=True)
    numpy.testing.assert_allclose(found.numpy(), each.mean(axis=(1, 2, 3)), rtol=1e-5)


def test_a_normalised_mask_makes_no_small_loss():
    """An even error costs the same whatever the size of the mask."""
    each = torch.full((1, 4, 8, 8), 0.7)
    small = torch.zeros(1, 1, 8, 8)
    small[..., :2, :2] = 1
    for floor in (0.0, 0.1):
        weights = losses.mask_weights(small, unmasked_weight=floor, normalise=True)
        assert losses.per_sample(each, weights).item() == pytest.approx(0.7)
    plain = losses.mask_weights(small, unmasked_weight=0, normalise=False)
    assert losses.per_sample(each, plain).item() == pytest.approx(0.7 / 16)
