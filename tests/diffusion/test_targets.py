"""Noised latents, targets and signal-to-noise agree with diffusers."""

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from workbench.diffusion.targets import corrupt, signal_to_noise

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
    noisy, target = corrupt(latents, noise, TIMESTEPS, alphas_cumprod=ALPHAS, prediction=prediction)
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
    snr = signal_to_noise(TIMESTEPS, alphas_cumprod=ALPHAS)
    assert torch.allclose(snr, compute_snr(SCHEDULER, TIMESTEPS), rtol=1e-3)
    assert snr[-1].item() == pytest.approx(0.00468, rel=0.01)  # SD's terminal SNR
