"""Losses, the weights of timesteps, and which of them are trained."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.diffusion.losses import Huber, SmoothL1
from workbench.diffusion.weighting import MinSNR, SoftMinSNR
from workbench.recipe import Recipe


@rule(
    "warn",
    "timesteps.lowest",
    reason="only timesteps {lowest} to {highest} are trained, and sampling visits all of them",
    fix="set timesteps.lowest=0 and timesteps.highest=999",
    source="sampling runs from 999 to 0",
)
def timesteps_narrow(recipe: Recipe, facts: Facts) -> Found:
    """Less than half of the timesteps trained."""
    lowest, highest = recipe.timesteps.lowest, recipe.timesteps.highest
    return applies(highest - lowest < 499, lowest=lowest, highest=highest)


@rule(
    "note",
    "weighting.gamma",
    reason="gamma {gamma:g} weighs down all but the noisiest timesteps, so fine detail is hardly "
    "learned",
    fix="set weighting.gamma=5",
    source="Hang et al. 2023, arXiv 2303.09556: 5",
)
def min_snr_low(recipe: Recipe, facts: Facts) -> Found:
    """Min-SNR, hard or soft, with a gamma below 1."""
    if not isinstance(recipe.weighting, MinSNR | SoftMinSNR):
        return None
    return applies(recipe.weighting.gamma < 1, gamma=recipe.weighting.gamma)


@rule(
    "refuse",
    "weighting.kind",
    reason="at zero terminal SNR debiased weights, 1 / sqrt(SNR), have no bound: the last timestep "
    "alone would decide the step",
    fix="set weighting.kind=min_snr, or take a base that predicts v",
    source="weights that divide by the SNR blow up where it is 0 (Lin et al. 2023, 2305.08891)",
)
def debiased_zero_snr(recipe: Recipe, facts: Facts) -> Found:
    """Debiased weights for noise prediction with zero terminal SNR."""
    debiased = recipe.weighting.kind == "debiased"
    return applies(
        debiased and facts.base.zero_terminal_snr and facts.base.prediction != "v_prediction"
    )


@rule(
    "warn",
    "weighting.normalise",
    reason="debiased weights run from 0.03 to 14.6 with a mean of 3.0: the loss reads three times "
    "as high, and the gradient clip cuts most steps",
    fix="set weighting.normalise=true",
    source="their mean on SD's schedule (tests/diffusion/test_weighting.py)",
)
def debiased_heavy(recipe: Recipe, facts: Facts) -> Found:
    """Debiased weights with a gradient clip, not normalised."""
    if recipe.weighting.kind != "debiased" or recipe.weighting.normalise:
        return None
    clipped = recipe.training.gradient_clip is not None
    return applies(clipped and facts.base.prediction != "v_prediction")


@rule(
    "note",
    "weighting.velocity",
    reason="what debiased means for v is disputed: linear is 1 / (SNR + 1), root its square root",
    fix="compare both, or set weighting.kind=min_snr",
    source="sd-scripts #1058 and #1715, OneTrainer #212",
)
def debiased_velocity(recipe: Recipe, facts: Facts) -> Found:
    """Debiased weights for a base that predicts v."""
    debiased = recipe.weighting.kind == "debiased"
    return applies(debiased and facts.base.prediction == "v_prediction")


@rule(
    "note",
    "weighting.kind",
    reason="timesteps.kind={timesteps} and weighting.kind={weighting} both prefer some timesteps, "
    "and the two multiply",
    fix="keep one of them, unless their product is what you want",
    source="Esser et al. 2024, arXiv 2403.03206: density and weight are interchangeable",
)
def weighting_and_timesteps(recipe: Recipe, facts: Facts) -> Found:
    """Draws and weights that both prefer some timesteps."""
    timesteps, weighting = recipe.timesteps.kind, recipe.weighting.kind
    both = timesteps != "uniform" and weighting != "constant"
    return applies(both, timesteps=timesteps, weighting=weighting)


@rule(
    "note",
    "timesteps.spread",
    reason="middling timesteps get the draws: only about a twelfth falls below 150 or above 850, "
    "where fine detail and composition are made",
    fix="set timesteps.kind=uniform, or timesteps.spread=1.5",
    source="its density; SD3 uses it for flow matching",
)
def logit_normal_discrete(recipe: Recipe, facts: Facts) -> Found:
    """Logit-normal timesteps as for flow matching, on a discrete schedule."""
    if recipe.timesteps.kind != "logit_normal":
        return None
    return applies(recipe.timesteps.mean == 0 and recipe.timesteps.spread <= 1)


@rule(
    "warn",
    "timesteps.shift",
    reason="with shift {shift:g} half of all draws lie in a seventh of the timesteps",
    fix="set timesteps.shift=3 at most",
    source="the shifted quantile s u / (1 + (s - 1) u)",
)
def shift_large(recipe: Recipe, facts: Facts) -> Found:
    """Timesteps shifted by more than 6, or by less than 1/6."""
    if recipe.timesteps.kind != "shifted":
        return None
    shift = recipe.timesteps.shift
    return applies(not 1 / 6 <= shift <= 6, shift=shift)


@rule(
    "note",
    "timesteps.stratified",
    reason="strata are made within a forward pass, and one image has one: nothing changes",
    fix="set training.batch_size=4, or leave timesteps.stratified out",
    source="timesteps.draw works within a micro-batch",
)
def stratified_alone(recipe: Recipe, facts: Facts) -> Found:
    """Stratified timesteps with a batch of one."""
    return applies(recipe.timesteps.stratified and recipe.training.batch_size == 1)


@rule(
    "note",
    "loss.threshold",
    reason="far from zero huber's slope is twice its threshold, so at {threshold:g} gradients are "
    "{slope:g} times those of l1 and optimizers that do not adapt stand still",
    fix="set loss.kind=smooth_l1, whose slope stays, or loss.threshold=0.1",
    source="2c (sqrt(d^2 + c^2) - c), as in sd-scripts",
)
def huber_low(recipe: Recipe, facts: Facts) -> Found:
    """A Huber loss with a constant threshold below 0.03."""
    if recipe.loss.kind != "huber" or recipe.loss.schedule.kind != "constant":
        return None
    threshold = recipe.loss.threshold
    return applies(threshold < 0.03, threshold=threshold, slope=2 * threshold)


@rule(
    "note",
    "loss.schedule",
    reason="threshold and weight both follow the SNR, so clean timesteps are tuned twice",
    fix="set weighting.kind=constant, or loss.schedule.kind=constant",
    source="both are functions of the SNR",
)
def huber_and_weighting(recipe: Recipe, facts: Facts) -> Found:
    """A threshold that follows the SNR beside a weighting."""
    if not isinstance(recipe.loss, Huber | SmoothL1):
        return None
    by_snr = recipe.loss.schedule.kind == "snr"
    return applies(by_snr and recipe.weighting.kind != "constant")
