"""The noised latents and what the model is asked to predict, for a variance-preserving schedule.

With a = alpha_bar[t]: x_t = sqrt(a) x_0 + sqrt(1 - a) eps.
"""

from typing import Literal

from torch import Tensor

Prediction = Literal["epsilon", "v_prediction"]


def corrupt(
    latents: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    *,
    alphas_cumprod: Tensor,
    prediction: Prediction,
    input_noise: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Noise the latents and say what the model should answer.

    Args:
        latents: clean latents x_0 (B, C, H, W).
        noise: eps (B, C, H, W).
        timesteps: (B,), int64.
        alphas_cumprod: alpha_bar of the whole schedule (T,), in [0, 1].
        prediction: "epsilon" asks for the noise, "v_prediction" for sqrt(a) eps - sqrt(1-a) x_0.
        input_noise: what the latents are mixed with, where it is not eps (input perturbation).
    Returns:
        Noised latents x_t and target, both (B, C, H, W).
    Source: Ho et al. 2020, arXiv 2006.11239, eq. 4; Salimans and Ho 2022, arXiv 2202.00512, app. D;
        input perturbation: Ning et al. 2023, arXiv 2301.11706.
    """
    alpha_bar = alphas_cumprod.to(latents.device)[timesteps.to(latents.device)]
    signal = alpha_bar.sqrt().to(latents.dtype)[:, None, None, None]
    spread = (1 - alpha_bar).sqrt().to(latents.dtype)[:, None, None, None]
    noisy = signal * latents + spread * (noise if input_noise is None else input_noise)
    target = noise if prediction == "epsilon" else signal * noise - spread * latents
    return noisy, target


def signal_to_noise(timesteps: Tensor, *, alphas_cumprod: Tensor) -> Tensor:
    """Signal-to-noise ratio of each sample's timestep.

    Args:
        timesteps: (B,), int64.
        alphas_cumprod: alpha_bar of the whole schedule (T,).
    Returns:
        a / (1 - a), (B,), float32 on the CPU's or the schedule's device.
    """
    alpha_bar = alphas_cumprod[timesteps.to(alphas_cumprod.device)]
    return alpha_bar / (1 - alpha_bar)
