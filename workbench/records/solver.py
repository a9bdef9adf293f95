"""From noise to a picture: the solver, its timesteps, and what zero terminal SNR asks of them."""

from typing import TYPE_CHECKING, Any

import torch

from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.models.family import Family
    from workbench.records.sampling import SampleSettings

# diffusers' class and what it needs beyond the noise schedule.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
}
ZERO_SNR_RESCALE = 0.7  # arXiv 2305.08891


def make_scheduler(family: "Family", settings: "SampleSettings") -> Any:
    """Build a scheduler for sampling from the model's own noise schedule.

    Args:
        family: gives the noise schedule and what the model predicts.
        settings: gives the solver and the spacing.
    Returns:
        A diffusers scheduler that nothing else holds.
    Raises:
        SettingsError: see `require_fit`.
    """
    import diffusers

    require_fit(family, settings)
    name, extra = SCHEDULERS[settings.scheduler]
    # a terminal SNR of exactly 0 gives the sigma solvers an infinity; 2^-24 is what diffusers uses
    alphas = family.alphas_cumprod.double().cpu().clamp(min=2**-24)
    previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    return getattr(diffusers, name)(
        num_train_timesteps=len(alphas),
        trained_betas=(1 - alphas / previous).tolist(),
        prediction_type=family.prediction_type,
        timestep_spacing=settings.spacing,
        steps_offset=1 if settings.spacing == "leading" else 0,
        **extra,
    )


def guidance_rescale(family: "Family", settings: "SampleSettings") -> float:
    """Say how far guided predictions are pulled back to the spread of unguided ones.

    Args:
        family: with a terminal SNR of zero, guidance overexposes unless it is rescaled.
        settings: what the user chose, if anything.
    Returns:
        The share, in [0, 1].
    Source: Lin et al. 2023, arXiv 2305.08891, section 3.4; 0.7 is their value.
    """
    if settings.guidance_rescale is not None:
        return settings.guidance_rescale
    return ZERO_SNR_RESCALE if _ends_in_noise(family) else 0.0


def require_fit(family: "Family", settings: "SampleSettings") -> None:
    """Refuse, before anything is trained, to sample in a way that the noise schedule rules out.

    Args:
        family: gives the noise schedule.
        settings: how pictures are to be drawn.
    Raises:
        SettingsError: the schedule ends in noise alone, and the spacing is not trailing.
    """
    if _ends_in_noise(family) and settings.spacing != "trailing":
        raise SettingsError(
            f'sampling.spacing must be "trailing", got {settings.spacing!r}: the noise schedule '
            'ends in noise alone (zero terminal SNR); "leading" never visits that end, and '
            '"linspace" wastes its last step at a timestep that holds no noise'
        )


def _ends_in_noise(family: "Family") -> bool:
    return float(family.alphas_cumprod[-1]) == 0
