"""Noise, and what the base predicts."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.diffusion.noise import KohyaPyramid, Pyramid
from workbench.recipe import Recipe


@rule(
    "warn",
    "noise.strength",
    reason="an offset of {strength:g} shifts the colour temperature and washes pictures out",
    fix="set noise.strength=0.05, at most 0.1",
    source="Crosslabs 2023; 0.1 cuts the terminal SNR of a channel's mean from 19 to .46",
)
def offset_strong(recipe: Recipe, facts: Facts) -> Found:
    """Offset noise above 0.15."""
    if recipe.noise.kind != "offset":
        return None
    return applies(recipe.noise.strength > 0.15, strength=recipe.noise.strength)


@rule(
    "warn",
    "noise.discount",
    reason="with discount {discount:g} over {levels} levels the coarse scales outweigh the fine "
    "ones, while sampling still starts from white noise: pictures look smeared",
    fix="set noise.discount=0.4",
    source="measured: 10 levels of discount .8 give the mean 370 times the power of white noise",
)
def pyramid_strong(recipe: Recipe, facts: Facts) -> Found:
    """Pyramid noise of six levels or more with a discount of 0.75 or more."""
    if not isinstance(recipe.noise, Pyramid | KohyaPyramid):
        return None
    discount, levels = recipe.noise.discount, recipe.noise.levels
    return applies(discount >= 0.75 and levels >= 6, discount=discount, levels=levels)


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
