"""Noise, and what the base predicts."""

from collections.abc import Iterator
from typing import Any

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.diffusion.noise import (
    InputPerturbation,
    KohyaPyramid,
    Offset,
    Perlin,
    PowerLaw,
    Pyramid,
    WhitakerPyramid,
)
from workbench.recipe import Recipe


def _layers(noise: Any, where: str = "noise") -> Iterator[tuple[str, Any]]:
    """A noise and those that it is made of, from the outside in, each with its path."""
    yield where, noise
    for index, part in enumerate(getattr(noise, "parts", ())):
        yield from _layers(part, f"{where}.parts.{index}")
    if (base := getattr(noise, "base", None)) is not None:
        yield from _layers(base, f"{where}.base")


def _find(recipe: Recipe, *kinds: type) -> tuple[str, Any]:
    """Path and settings of the outermost noise of some kinds; ("", None) without one."""
    layers = _layers(recipe.noise)
    return next((layer for layer in layers if isinstance(layer[1], kinds)), ("", None))


@rule(
    "warn",
    "{where}.strength",
    reason="an offset of {strength:g} shifts the colour temperature and washes pictures out",
    fix="set noise.strength=0.05, at most 0.1",
    source="Crosslabs 2023; 0.1 cuts the terminal SNR of a channel's mean from 19 to .46",
)
def offset_strong(recipe: Recipe, facts: Facts) -> Found:
    """Offset noise above 0.15, its adaptive part included."""
    where, offset = _find(recipe, Offset)
    strength = 0.0 if offset is None else offset.strength + max(0.0, offset.adaptive)
    return applies(strength > 0.15, where=where, strength=strength)


@rule(
    "warn",
    "{where}.discount",
    reason="with discount {discount:g} the coarse scales outweigh the fine ones, while sampling "
    "still starts from white noise: pictures look smeared",
    fix="set noise.discount=0.4",
    source="measured: 10 levels of discount .8 give the mean 370 times the power of white noise",
)
def pyramid_strong(recipe: Recipe, facts: Facts) -> Found:
    """Pyramid noise of many levels with a discount of 0.75 or more (Whitaker's: 0.9)."""
    where, noise = _find(recipe, Pyramid, KohyaPyramid, WhitakerPyramid)
    if noise is None:
        return None
    many = getattr(noise, "levels", 10) >= 6
    limit = 0.9 if isinstance(noise, WhitakerPyramid) else 0.75
    strong = many and noise.discount >= limit
    return applies(strong, where=where, discount=noise.discount)


@rule(
    "note",
    "{where}.discount",
    reason="at discount {discount:g} kohya's pyramid is nearly white: the coarsest waves have less "
    "than twice its power",
    fix="set noise.discount=0.4 to 0.8",
    source="measured: 1.8 times the power of white noise at one cycle a picture",
)
def pyramid_kohya_weak(recipe: Recipe, facts: Facts) -> Found:
    """Kohya's pyramid noise at its default discount or below."""
    where, noise = _find(recipe, KohyaPyramid)
    if noise is None:
        return None
    return applies(noise.discount <= 0.3, where=where, discount=noise.discount)


@rule(
    "warn",
    "{where}.perturbation",
    reason="plain Perlin noise has a hundredth of white noise's power at the finest scale: details "
    "are never destroyed, so the model is never asked about them",
    fix="set noise.perturbation=0.4",
    source="measured: .01 of white noise's power at 31 cycles a picture",
)
def perlin_plain(recipe: Recipe, facts: Facts) -> Found:
    """Perlin noise with a perturbation below 0.1."""
    where, noise = _find(recipe, Perlin)
    return applies(noise is not None and noise.perturbation < 0.1, where=where)


@rule(
    "warn",
    "{where}.shift",
    reason="an unshifted lattice has its nodes at the same places in every step, and these get "
    "almost no noise",
    fix="set noise.shift=true",
    source="measured: a variance below 0.05 at the nodes",
)
def perlin_tied(recipe: Recipe, facts: Facts) -> Found:
    """Perlin noise whose lattice is tied to the edges."""
    where, noise = _find(recipe, Perlin)
    return applies(noise is not None and not noise.shift, where=where)


@rule(
    "note",
    "{where}.cells",
    reason="the shorter side has {side} latents and the coarsest cells are {cells} along it, so "
    "most octaves are finer than a latent and drawn as white noise",
    fix="set noise.cells=2, or fewer octaves",
    source="an octave halves the cells",
)
def perlin_too_fine(recipe: Recipe, facts: Facts) -> Found:
    """Perlin noise on latents of less than four to a cell."""
    where, noise = _find(recipe, Perlin)
    side = recipe.data.buckets.resolution // facts.base.latent_px
    if noise is None:
        return None
    return applies(side < 4 * noise.cells, where=where, side=side, cells=noise.cells)


@rule(
    "note",
    "{where}.keep_dc",
    reason="power-law noise without its mean teaches nothing about overall brightness: the "
    "opposite of an offset",
    fix="set noise.keep_dc=true, or lay an offset over it",
    source="its power at frequency 0 is 0",
)
def noise_without_mean(recipe: Recipe, facts: Facts) -> Found:
    """Power-law noise whose mean is left out."""
    where, noise = _find(recipe, PowerLaw)
    silent = noise is not None and not noise.keep_dc and noise.exponent != 0
    return applies(silent and not _find(recipe, Offset)[0], where=where)


@rule(
    "warn",
    "{where}.exponent",
    reason="at an exponent of {exponent:g} one end of the spectrum has almost no noise, while "
    "sampling starts from white noise",
    fix="set noise.exponent between -1 and 1, or mix it with gaussian",
    source="measured: f^-2 has .17 of white noise's power at the finest scale",
)
def noise_one_sided(recipe: Recipe, facts: Facts) -> Found:
    """Power-law noise with an exponent of 1.5 and more, either way."""
    where, noise = _find(recipe, PowerLaw)
    if noise is None or ".parts." in where:
        return None  # in a mixture the others fill what it lacks
    return applies(abs(noise.exponent) >= 1.5, where=where, exponent=noise.exponent)


@rule(
    "note",
    "noise.kind",
    reason="sampling still starts from white noise, so training noise of kind {kind} is a "
    "deliberate mismatch",
    fix="compare it with gaussian at equal stable loss: workbench experiment",
    source="no controlled measurement has been published",
)
def coloured_noise(recipe: Recipe, facts: Facts) -> Found:
    """Training noise that is not white; an offset has a rule of its own."""
    coloured = (Pyramid, KohyaPyramid, WhitakerPyramid, Perlin, PowerLaw)
    return applies(_find(recipe, *coloured)[0], kind=recipe.noise.kind)


@rule(
    "warn",
    "{where}.gamma",
    reason="with gamma {gamma:g} the input is noisier than its timestep says",
    fix="set noise.gamma=0.1",
    source="Ning et al. 2023, arXiv 2301.11706: 0.1",
)
def input_perturbation_large(recipe: Recipe, facts: Facts) -> Found:
    """Input perturbation above 0.2."""
    where, noise = _find(recipe, InputPerturbation)
    gamma = 0.0 if noise is None else noise.gamma
    return applies(gamma > 0.2, where=where, gamma=gamma)


@rule(
    "note",
    "noise.kind",
    reason="coloured noise and zero terminal SNR repair the same thing, a last timestep that still "
    "shows the picture",
    fix="set noise.kind=gaussian",
    source="Lin et al. 2023, arXiv 2305.08891",
)
def coloured_and_zero_snr(recipe: Recipe, facts: Facts) -> Found:
    """Offset, pyramid or Perlin noise with zero terminal SNR."""
    coloured = (Offset, Pyramid, KohyaPyramid, WhitakerPyramid, Perlin)
    return applies(facts.base.zero_terminal_snr and _find(recipe, *coloured)[0])


@rule(
    "warn",
    "base.zero_terminal_snr",
    reason="the base was trained on another schedule, and its last timesteps must be learned anew: "
    "a short LoRA over it gives grey pictures",
    fix="take a base that was made for it, or train long and in full",
    source="Lin et al. 2023, arXiv 2305.08891, section 3: they fine-tuned 50,000 steps",
)
def zero_snr_conversion(recipe: Recipe, facts: Facts) -> Found:
    """Zero terminal SNR put on a base by a LoRA or in a short run."""
    short = (facts.total_steps(recipe) or 0) < 2000 or recipe.adapter.kind != "full"
    return applies(recipe.base.zero_terminal_snr is True and short)


@rule(
    "warn",
    "sampling.guidance_rescale",
    reason="with zero terminal SNR guidance overexposes pictures, and guidance_rescale=0 lets it",
    fix="leave sampling.guidance_rescale out, which takes 0.7",
    source="Lin et al. 2023, arXiv 2305.08891, section 3.4",
)
def zero_snr_no_rescale(recipe: Recipe, facts: Facts) -> Found:
    """Zero terminal SNR sampled with guidance that is not rescaled."""
    sampling = recipe.sampling
    guided = sampling.guidance > 1 and sampling.guidance_rescale == 0
    return applies(facts.base.zero_terminal_snr and guided)


@rule(
    "warn",
    "weighting.kind",
    reason="weighting.kind={kind} gives the last timestep a weight of 0 at zero terminal SNR, so "
    "what the rescale is for is never learned",
    fix="set weighting.kind=constant",
    source="min(SNR, gamma) / (SNR + 1) is 0 where the SNR is",
)
def zero_snr_unweighted(recipe: Recipe, facts: Facts) -> Found:
    """Weights that vanish with the SNR, with zero terminal SNR."""
    kind = recipe.weighting.kind
    vanishes = kind in ("min_snr", "soft_min_snr", "p2")
    return applies(facts.base.zero_terminal_snr and vanishes, kind=kind)


@rule(
    "warn",
    "base.prediction",
    reason="the base's name says v-prediction, and base.prediction is {said}",
    fix="set base.prediction=v_prediction, unless its files say so already",
    source="a v-prediction model trained towards noise gives grey mush",
)
def velocity_by_name(recipe: Recipe, facts: Facts) -> Found:
    """A base called v-prediction without the setting for it."""
    name = recipe.base.path.lower().replace("-", "").replace("_", "")
    said = recipe.base.prediction
    return applies("vpred" in name and said != "v_prediction", said=said or "left to its files")


@rule(
    "warn",
    "base.prediction",
    reason="base.prediction is {chosen!r}, and the base's own files say {said!r}",
    fix="leave base.prediction out, unless you know that the files are wrong",
    source="trained towards another target, every step unteaches what the base knows",
)
def prediction_contradicts(recipe: Recipe, facts: Facts) -> Found:
    """A chosen prediction that the base's own files contradict."""
    chosen, said = recipe.base.prediction, facts.base.said_prediction
    return applies(chosen and said and chosen != said, chosen=chosen, said=said)


@rule(
    "warn",
    "base.clip_skip",
    reason="SDXL reads its encoders before their last layer anyway; clip_skip={skip} leaves out "
    "more than it was trained with",
    fix="set base.clip_skip=0",
    source="Podell et al. 2023, arXiv 2307.01952: the penultimate layer of both encoders",
)
def clip_skip_sdxl(recipe: Recipe, facts: Facts) -> Found:
    """Layers of SDXL's text encoders left out."""
    skip = recipe.base.clip_skip
    return applies(facts.base.family == "sdxl" and skip > 0, skip=skip)
