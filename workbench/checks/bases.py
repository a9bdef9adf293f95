"""The base model, as far as its headers and configs tell."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe


@rule(
    "refuse",
    "base.path",
    reason="{refused}",
    fix="choose another base.path, or mend what it names",
    source="the base's own headers and configs; no weight is read for it",
    allowable=False,
)
def base_unusable(recipe: Recipe, facts: Facts) -> Found:
    """A base that is not there, is no base, lacks a part, or is of no known family."""
    return applies(facts.base.refused != "", refused=facts.base.refused)


@rule(
    "warn",
    "base.path",
    reason="the base draws in few steps ({word}), which it learned from a model of many: the usual "
    "loss teaches it to need many again, and its own samples blur",
    fix="choose the model that it was made from; a LoRA of that works with this one too. Or set "
    "sampling.guidance=1 and few sampling.steps, and train briefly",
    source="DiffSynth-Studio issues 1251 and 1313, musubi-tuner issue 769",
)
def base_few_steps(recipe: Recipe, facts: Facts) -> Found:
    """A base whose name says turbo, lightning, LCM, hyper, DMD, schnell or flash."""
    return applies(facts.base.few_steps != "", word=facts.base.few_steps)
