"""The order of the reduction, the factor of the weighting, and the tables behind both."""

import numpy
import pytest
import torch
from diffusers import DDPMScheduler

from workbench.diffusion import losses, timesteps, weighting
from workbench.diffusion.objective import Objective
from workbench.process import DiscreteVP

ALPHAS = DDPMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
).alphas_cumprod
WHEN = torch.tensor([3, 410, 977])


def objective(loss=None, weight=None, when=None, prediction="epsilon") -> Objective:
    return Objective(
        loss or losses.L2(),
        weight or weighting.Constant(),
        when or timesteps.Uniform(),
        process=DiscreteVP(ALPHAS, prediction),
    )


def draws(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_order_of_the_reduction():
    """Elementwise -> mask -> mean per sample -> weight of the picture -> weight of the timestep."""
    predicted, target = draws(2, 3, 4, 5, 6)
    mask = losses.mask_weights(draws(3, 1, 5, 6).sigmoid(), unmasked_weight=0.2, normalise=True)
    importance = torch.tensor([1.0, 0.25, 2.0])
    found = objective(losses.Huber(), weighting.MinSNR())(
        predicted, target, WHEN, mask=mask, importance=importance
    )
    d = (predicted - target).double().numpy()
    plain = []
    for sample, shown in zip(d, mask.double().numpy(), strict=True):
        each = 0.2 * (numpy.sqrt(sample**2 + 0.01) - 0.1)  # elementwise, c = 0.1
        plain.append((each * shown).mean())  # mask, then mean
    snr = (ALPHAS / (1 - ALPHAS)).double().numpy()[WHEN.numpy()]
    weighted = numpy.array(plain) * importance.numpy() * numpy.minimum(snr, 5) / snr
    numpy.testing.assert_allclose(found.plain, plain, rtol=1e-5)
    numpy.testing.assert_allclose(found.weighted, weighted, rtol=1e-5)
    assert torch.equal(found.places, (WHEN + 0.5) / 1000)


def test_a_mask_before_the_mean_is_not_a_mask_after_it():
    """Squares of masked differences would weigh by the mask squared."""
    predicted, target = torch.full((1, 4, 2, 2), 2.0), torch.zeros(1, 4, 2, 2)
    mask = torch.tensor([[[[0.5, 0.5], [0.5, 0.5]]]])
    found = objective()(predicted, target, WHEN[:1], mask=mask)
    assert found.plain.item() == pytest.approx(0.5 * 4)


def test_plain_losses_carry_no_gradient_and_weighted_ones_do():
    predicted = draws(3, 4, 5, 6).requires_grad_()
    found = objective(weight=weighting.P2())(predicted, torch.zeros(3, 4, 5, 6), WHEN)
    assert not found.plain.requires_grad
    found.weighted.sum().backward()
    expected = 2 * predicted.detach() / (4 * 5 * 6) * (1 - ALPHAS)[WHEN][:, None, None, None]
    torch.testing.assert_close(predicted.grad, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("member", [weighting.MinSNR, weighting.SoftMinSNR, weighting.Debiased])
@pytest.mark.parametrize(
    "when",
    [
        timesteps.Uniform(),
        timesteps.Uniform(lowest=600),
        timesteps.LogitNormal(mean=0.5),
        timesteps.Shifted(shift=3),
    ],
    ids=lambda x: x.kind,
)
def test_normalised_weights_have_mean_one_over_the_draws(member, when, prediction):
    made = objective(weight=member(normalise=True), when=when, prediction=prediction)
    plain = objective(weight=member(), when=when, prediction=prediction)
    every = torch.arange(1000)
    assert float(made.weights(every).double() @ made.density) == pytest.approx(1, rel=1e-5)
    assert made.factor == plain.factor
    torch.testing.assert_close(made.weights(every) * made.factor, plain.weights(every))
    drawn = when.draw(20_000, torch.Generator().manual_seed(0), made.process)
    assert made.weights(drawn).mean().item() == pytest.approx(1, rel=0.05)


def test_factor_follows_the_range():
    """Above SNR 5 min-SNR takes away, below it does nothing."""
    noisy = objective(weight=weighting.MinSNR(), when=timesteps.Uniform(lowest=600))
    clean = objective(weight=weighting.MinSNR(), when=timesteps.Uniform(highest=50))
    assert noisy.factor == pytest.approx(1)
    snr = (ALPHAS / (1 - ALPHAS))[:51].double().numpy()
    assert clean.factor == pytest.approx((5 / snr).mean(), rel=1e-5)
