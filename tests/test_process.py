"""Noised latents, targets and signal-to-noise agree with diffusers and the papers' formulas."""

import numpy
import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_snr

from workbench.process import DiscreteVP, Flow, grid

SCHEDULER = DDPMScheduler(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000
)
ALPHAS = SCHEDULER.alphas_cumprod
TIMESTEPS = torch.tensor([0, 1, 500, 998, 999])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_agrees_with_diffusers(prediction, dtype):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(5, 4, 6, 8, generator=generator).to(dtype)
    noise = torch.randn(5, 4, 6, 8, generator=generator).to(dtype)
    noisy, target = DiscreteVP(ALPHAS, prediction).mix(latents, noise, TIMESTEPS)
    # The oracle works in float32: in bfloat16, diffusers rounds 1 - alpha_bar to 0 near t = 0.
    exact, expected = latents.float(), noise.float()
    oracle = SCHEDULER.add_noise(exact, expected, TIMESTEPS).to(dtype)
    if prediction == "v_prediction":
        expected = SCHEDULER.get_velocity(exact, expected, TIMESTEPS)
    tolerance = 1e-6 if dtype == torch.float32 else 0.03
    assert noisy.dtype == target.dtype == dtype
    assert torch.allclose(noisy, oracle, atol=tolerance, rtol=tolerance)
    assert torch.allclose(target, expected.to(dtype), atol=tolerance, rtol=tolerance)


def test_signal_to_noise_agrees_with_diffusers_and_the_known_end():
    snr = DiscreteVP(ALPHAS, "epsilon").snr(TIMESTEPS)
    assert torch.allclose(snr, compute_snr(SCHEDULER, TIMESTEPS), rtol=1e-3)
    assert snr[-1].item() == pytest.approx(0.00468, rel=0.01)  # SD's terminal SNR


def draws(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_clean_latents_undo_the_mixture(prediction):
    process = DiscreteVP(ALPHAS.double(), prediction)
    level = torch.arange(0, 1000, 37)
    clean, noise = draws(2, len(level), 4, 3, 5, dtype=torch.float64)
    noisy, target = process.mix(clean, noise, level)
    torch.testing.assert_close(process.clean(noisy, target, level), clean, rtol=0, atol=1e-9)


def test_input_noise_goes_in_and_is_not_asked_for():
    level = torch.tensor([300, 600])
    clean, noise, other = draws(3, 2, 4, 3, 5)
    for process, at in (
        (DiscreteVP(ALPHAS, "epsilon"), level),
        (DiscreteVP(ALPHAS, "v_prediction"), level),
        (Flow(), level / 1000),
    ):
        noisy, target = process.mix(clean, noise, at, input_noise=other)
        assert torch.equal(noisy, process.mix(clean, other, at)[0])
        assert torch.equal(target, process.mix(clean, noise, at)[1])


def test_all_thousand_timesteps_are_their_own_thousandths_and_places():
    process, every = DiscreteVP(ALPHAS, "epsilon"), torch.arange(1000)
    assert torch.equal(process.at(every), every)
    assert torch.equal(process.at(every + 0.999), every)
    places = process.place(every)
    numpy.testing.assert_allclose(places, (numpy.arange(1000) + 0.5) / 1000, rtol=1e-6)
    assert torch.equal(process.at(1000 * places), every)
    assert torch.equal(process.levels(0, 999, places), every)
    assert torch.equal(grid(process), every)
    assert (process.steps, process.ends_in_noise) == (1000, False)


def test_levels_of_a_range_are_cut_off_before_its_start_is_added():
    process, u = DiscreteVP(ALPHAS, "epsilon"), torch.rand(50_000)
    for lowest, highest in ((0, 999), (100, 103), (7, 7), (250, 749)):
        count = highest + 1 - lowest
        assert torch.equal(process.levels(lowest, highest, u), lowest + (u * count).long())
        ends = process.levels(lowest, highest, torch.tensor([0.0, 1.0]))
        assert ends.tolist() == [lowest, highest]


def test_a_shorter_schedule_is_spoken_of_in_thousandths():
    process = DiscreteVP(torch.linspace(0.99, 0.01, 50), "epsilon")
    thousandths = torch.tensor([0, 19, 20, 500, 999])
    assert process.at(thousandths).tolist() == [0, 0, 1, 25, 49]
    assert process.levels(500, 999, torch.tensor([0.0, 0.5, 1.0])).tolist() == [25, 37, 49]
    assert process.place(torch.tensor([0, 49])).tolist() == pytest.approx([0.01, 0.99])


def test_a_schedule_that_ends_in_noise_alone_says_so():
    process = DiscreteVP(torch.linspace(0.999, 0.0, 1000), "v_prediction")
    clean, noise = draws(2, 1, 4, 3, 5)
    noisy, target = process.mix(clean, noise, torch.tensor([999]))
    assert process.ends_in_noise and process.snr(torch.tensor([999])).item() == 0
    assert torch.equal(noisy, noise) and torch.equal(target, -clean)
    assert torch.equal(process.clean(noisy, target, torch.tensor([999])), clean)


SIGMAS = torch.tensor([1e-4, 0.1, 0.5, 0.77, 1.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_flow_is_the_line_of_the_papers(dtype):
    clean, noise = draws(2, 5, 16, 3, 5)
    noisy, target = Flow().mix(clean.to(dtype), noise.to(dtype), SIGMAS)
    assert noisy.dtype == target.dtype == dtype
    s = SIGMAS.double().numpy()[:, None, None, None]
    x0, eps = clean.double().numpy(), noise.double().numpy()
    tolerance = 1e-6 if dtype == torch.float32 else 0.04
    numpy.testing.assert_allclose(noisy.double(), (1 - s) * x0 + s * eps, atol=tolerance)
    numpy.testing.assert_allclose(target.double(), eps - x0, atol=tolerance)


def test_a_flow_mixes_and_steps_as_diffusers_does():
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(8)
    clean, noise = draws(2, 1, 16, 3, 5)
    for k, timestep in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[k][None]
        assert Flow().at(timestep[None]).item() == pytest.approx(sigma.item(), rel=1e-6)
        noisy, target = Flow().mix(clean, noise, sigma)
        theirs = scheduler.scale_noise(clean, timestep[None], noise)
        torch.testing.assert_close(noisy, theirs, rtol=1e-5, atol=1e-6)
        # A step from one level to the next along the true answer stays on the line.
        scheduler._step_index = None
        stepped = scheduler.step(target, timestep, noisy).prev_sample
        after, _ = Flow().mix(clean, noise, scheduler.sigmas[k + 1][None])
        torch.testing.assert_close(stepped, after, rtol=1e-4, atol=1e-5)


def test_the_clean_latents_of_a_flow_undo_the_mixture():
    clean, noise = draws(2, 5, 16, 3, 5, dtype=torch.float64)
    noisy, target = Flow().mix(clean, noise, SIGMAS)
    torch.testing.assert_close(Flow().clean(noisy, target, SIGMAS), clean, rtol=0, atol=1e-6)


def test_signal_to_noise_of_a_flow():
    found = Flow().snr(torch.tensor([0.1, 0.5, 0.9, 1.0]))
    assert found.tolist() == pytest.approx([81.0, 1.0, 1 / 81, 0.0], rel=1e-5)


def test_levels_of_a_flow_stay_within_the_range():
    u = torch.tensor([0.0, 2**-24, 0.25, 0.5, 1 - 2**-24, 1.0])
    found = Flow().levels(0, 999, u)
    assert found.dtype == torch.float32 and (found > 0).all() and (found < 1).all()
    assert found[2:4].tolist() == [0.25, 0.5]
    inner = Flow().levels(200, 399, u)
    assert inner.tolist() == pytest.approx((0.2 + 0.2 * u).tolist())
    assert inner.min() >= 0.2 and inner.max() <= 0.4
    assert (Flow().levels(7, 7, u) - 0.0075).abs().max() <= 0.0005001


def test_places_and_thousandths_of_a_flow_are_sigma():
    assert torch.equal(Flow().place(SIGMAS), SIGMAS)
    assert Flow().at(torch.tensor([0, 1, 250, 999])).tolist() == pytest.approx(
        [0, 0.001, 0.25, 0.999]
    )
    levels = grid(Flow())
    numpy.testing.assert_allclose(levels, (numpy.arange(1000) + 0.5) / 1000, rtol=1e-5)
    assert Flow().steps is None and not Flow().ends_in_noise and Flow().prediction == "flow"
