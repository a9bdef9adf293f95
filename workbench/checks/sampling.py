"""Samples and what the report needs."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe


@rule(
    "note",
    "sampling.prompts",
    reason="sampling.prompts is empty, so that the report has no pictures of its own choosing",
    fix="name two prompts, one with the trigger and one without",
    source="the report is made from the samples",
)
def no_prompts(recipe: Recipe, facts: Facts) -> Found:
    """No picture to compare with the base."""
    return applies(recipe.sampling.prompts == ())


@rule(
    "note",
    "sampling.prompts",
    reason="no sample prompt holds {{trigger}} or {word!r}, so the samples do not show the concept",
    fix="put {{trigger}} first in a prompt or two",
    source="a LoRA with a trigger acts when it is called",
)
def trigger_not_sampled(recipe: Recipe, facts: Facts) -> Found:
    """A trigger that no sample prompt calls."""
    word = recipe.data.subsets[0].trigger if recipe.data.subsets else None
    prompts = recipe.sampling.prompts
    if not word or not prompts:
        return None
    called = any("{trigger}" in prompt or word in prompt for prompt in prompts)
    return applies(not called, word=word)


@rule(
    "warn",
    "sampling.prompts",
    reason="{count} sample prompts have more than {limit} tokens, the longest {tokens}; the text "
    "encoder never sees the rest",
    fix="shorten them, or let CLIP read up to 225 tokens: data.captions.max_tokens",
    source="samples are read as the captions are",
)
def prompts_cut(recipe: Recipe, facts: Facts) -> Found:
    """Sample prompts longer than the text encoder reads."""
    found = facts.too_long(recipe, [*(recipe.sampling.prompts or ()), recipe.sampling.negative])
    if found is None:
        return None
    values = {"count": found.count, "limit": found.limit, "tokens": found.tokens}
    return applies(True, **values)


@rule(
    "warn",
    "sampling.guidance",
    reason="a guidance of {guidance:g} burns colours in whatever the LoRA does",
    fix="set sampling.guidance=7 for SD 1.x, 5 for SDXL",
    source="Ho and Salimans 2022, arXiv 2207.12598: contrast rises with guidance",
)
def guidance_high(recipe: Recipe, facts: Facts) -> Found:
    """A guidance above 12."""
    guidance = recipe.sampling.guidance
    return applies(guidance > 12, guidance=guidance)


@rule(
    "note",
    "sampling.steps",
    reason="{steps} denoising steps of {scheduler} leave pictures unfinished, and the LoRA gets "
    "the blame",
    fix="set sampling.steps=20",
    source="Lu et al. 2022, arXiv 2211.01095: 15 to 20 steps of the fastest solvers",
)
def few_sampling_steps(recipe: Recipe, facts: Facts) -> Found:
    """Samples of fewer than ten steps."""
    sampling = recipe.sampling
    few = sampling.prompts != () and sampling.steps < 10
    return applies(few, steps=sampling.steps, scheduler=sampling.scheduler)


@rule(
    "note",
    "sampling.negative",
    reason="sampling.negative is used by guidance alone, and sampling.guidance=1 is none",
    fix="set sampling.guidance=5, or leave the negative prompt out",
    source="guidance steers from the negative prompt to the prompt",
)
def negative_unused(recipe: Recipe, facts: Facts) -> Found:
    """A negative prompt without guidance."""
    return applies(recipe.sampling.negative and recipe.sampling.guidance <= 1)
