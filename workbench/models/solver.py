"""From noise to a picture: the solver, its timesteps, and what zero terminal SNR asks of them."""

from typing import TYPE_CHECKING, Any

import torch

from workbench.models.family import SampleOptions
from workbench.process import DiscreteVP, Process
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

# diffusers' class and what it needs beyond the noise schedule.
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
}
FLOW_SCHEDULERS = ("ddim", "euler")  # on a straight line both are Euler's step
ZERO_SNR_RESCALE = 0.7  # arXiv 2305.08891


def make_scheduler(process: Process, options: SampleOptions) -> "SchedulerMixin":
    """Build a scheduler for sampling from a discrete noise schedule.

    Args:
        process: the model's own schedule, and what it predicts.
        options: the solver and the spacing.
    Returns:
        A diffusers scheduler that nothing else holds.
    Raises:
        SettingsError: see `require_solver`.
    """
    import diffusers

    assert isinstance(process, DiscreteVP)
    require_solver(process, scheduler=options.scheduler, spacing=options.spacing)
    name, extra = SCHEDULERS[options.scheduler]
    # a terminal SNR of exactly 0 gives the sigma solvers an infinity; 2^-24 is what diffusers uses
    alphas = process.alphas.double().clamp(min=2**-24)
    previous = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    return getattr(diffusers, name)(
        num_train_timesteps=len(alphas),
        trained_betas=(1 - alphas / previous).tolist(),
        prediction_type=process.prediction,
        timestep_spacing=options.spacing,
        steps_offset=1 if options.spacing == "leading" else 0,
        **extra,
    )


def guidance_rescale(process: Process, options: SampleOptions) -> float:
    """Say how far guided predictions are pulled back to the spread of unguided ones.

    Args:
        process: with a terminal SNR of zero, guidance overexposes unless it is rescaled.
        options: what the user chose, if anything.
    Returns:
        The share, in [0, 1].
    Source: Lin et al. 2023, arXiv 2305.08891, section 3.4; 0.7 is their value.
    """
    if options.guidance_rescale is not None:
        return options.guidance_rescale
    return ZERO_SNR_RESCALE if process.ends_in_noise else 0.0


def require_solver(
    process: Process, *, scheduler: str, spacing: str, rescale: float | None = None
) -> None:
    """Refuse, before anything is trained, to sample in a way that the process rules out.

    Args:
        process: of the model.
        scheduler: `sampling.scheduler`.
        spacing: `sampling.spacing`.
        rescale: `sampling.guidance_rescale`.
    Raises:
        SettingsError: the schedule ends in noise alone, and the spacing is not trailing; or a
            solver of discrete schedules for a flow.
    """
    if process.prediction == "flow" and scheduler not in FLOW_SCHEDULERS:
        raise SettingsError(
            f'sampling.scheduler must be "euler" for a flow-matching model, got {scheduler!r}, '
            "which solves discrete noise schedules"
        )
    if process.prediction == "flow" and (spacing != "trailing" or rescale):
        odd = f"spacing = {spacing!r}" if spacing != "trailing" else f"guidance_rescale = {rescale}"
        raise SettingsError(
            f"sampling.{odd} must be left out for a flow-matching model: it mends discrete noise "
            "schedules, and a flow has none"
        )
    if process.ends_in_noise and spacing != "trailing":
        raise SettingsError(
            f'sampling.spacing must be "trailing", got {spacing!r}: the noise schedule '
            'ends in noise alone (zero terminal SNR); "leading" never visits that end, and '
            '"linspace" wastes its last step at a timestep that holds no noise'
        )
