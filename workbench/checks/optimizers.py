"""Optimizers and rates."""

import importlib.util

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe

# Rates beyond these burn a base in; LoRA's B starts at zero and bears more than a whole weight.
HIGHEST_LORA_RATE, HIGHEST_FULL_RATE = 2e-3, 1e-4
# A LoRA whose B cannot reach this stays invisible.
LEAST_REACH = 0.002
_BOUNDED = ("adamw", "adamw8bit", "adafactor", "lion")


@rule(
    "refuse",
    "optimizer.learning_rate",
    reason="prodigy multiplies the rate it finds by optimizer.learning_rate, and {rate:g} leaves "
    "next to nothing of it",
    fix="set optimizer.learning_rate=1 and tune optimizer.d_coefficient",
    source="prodigyopt's README: leave lr at 1; measured: d stays at d0 with 1e-4",
)
def prodigy_rate(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy with a learning rate below 0.1."""
    rate = recipe.optimizer.learning_rate
    return applies(recipe.optimizer.kind == "prodigy" and rate < 0.1, rate=rate)


@rule(
    "refuse",
    "optimizer.text_encoder_learning_rate",
    reason="prodigy finds one rate for all weights, and optimizer.text_encoder_learning_rate is "
    "{rate:g}",
    fix="set optimizer.text_encoder_learning_rate=none",
    source="prodigyopt raises on groups of two rates",
    allowable=False,
)
def prodigy_two_rates(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy with another rate for the text encoders."""
    rate = recipe.optimizer.text_encoder_learning_rate
    differs = rate not in (None, recipe.optimizer.learning_rate)
    return applies(recipe.optimizer.kind == "prodigy" and differs, rate=rate)


@rule(
    "warn",
    "schedule.kind",
    reason="prodigy's estimate only ever rises, so a restart hits the weights with a rate that was "
    "found for an early, rough stage",
    fix="set schedule.kind=constant or cosine",
    source="prodigyopt's README: constant, or cosine without restarts",
)
def prodigy_restarts(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy with a schedule that restarts."""
    restarts = recipe.schedule.kind == "cosine_restarts"
    return applies(recipe.optimizer.kind == "prodigy" and restarts)


@rule(
    "warn",
    "optimizer.safeguard_warmup",
    reason="during a warm-up the rate is tiny, and prodigy takes that for a reason to raise its "
    "estimate of the rate far too high",
    fix="set optimizer.safeguard_warmup=true",
    source="prodigyopt's README",
)
def prodigy_warmup(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy with a warm-up that its estimate is not guarded from."""
    optimizer = recipe.optimizer
    unguarded = optimizer.kind == "prodigy" and not optimizer.safeguard_warmup
    return applies(unguarded and recipe.schedule.warmup > 0)


@rule(
    "refuse",
    "optimizer.kind",
    reason="optimizer.kind={kind!r} needs the package bitsandbytes, which is not installed",
    fix="pip install bitsandbytes, or set optimizer.kind=adamw",
    source="the library's import",
    allowable=False,
)
def missing_8bit_library(recipe: Recipe, facts: Facts) -> Found:
    """An 8-bit optimizer without bitsandbytes."""
    kind: str = recipe.optimizer.kind
    return applies("8bit" in kind and not importlib.util.find_spec("bitsandbytes"), kind=kind)


@rule(
    "note",
    "optimizer.kind",
    reason="the narrowest matrices of rank {rank} hold fewer than {least} weights and keep 32-bit "
    "averages",
    fix="adamw does the same here; 8 bits pay for full fine-tunes",
    source="bitsandbytes: tensors below min_8bit_size stay in 32 bits",
)
def small_for_8bit(recipe: Recipe, facts: Facts) -> Found:
    """8-bit averages for a LoRA too small to have any."""
    if recipe.optimizer.kind != "adamw8bit" or recipe.adapter.kind != "lora":
        return None
    rank, least = recipe.adapter.rank, recipe.optimizer.min_8bit_size
    return applies(rank * 320 < least, rank=rank, least=least)


@rule(
    "note",
    "optimizer.learning_rate",
    reason="lion moves every weight by the whole learning rate in each step, and {rate:g} is more "
    "than AdamW's usual 1e-4",
    fix="take a third to a tenth of AdamW's rate",
    source="Chen et al. 2023, arXiv 2302.06675, section 5",
)
def lion_rate(recipe: Recipe, facts: Facts) -> Found:
    """Lion with a rate that suits AdamW."""
    rate = recipe.optimizer.learning_rate
    high = recipe.optimizer.kind == "lion" and rate > 1e-4
    return applies(high and not facts.base.is_critters, rate=rate)


@rule(
    "warn",
    "optimizer.learning_rate",
    reason="a rate of {rate:g} burns {what} in within a few dozen steps: colours harden and every "
    "prompt gives the same picture",
    fix="set optimizer.learning_rate={usual:g}",
    source="diffusers' training examples: 1e-4 for a LoRA, 1e-5 for a full fine-tune",
)
def rate_high(recipe: Recipe, facts: Facts) -> Found:
    """AdamW or Adafactor far above the usual rate, on a base that is not the small critters."""
    if recipe.optimizer.kind not in ("adamw", "adamw8bit", "adafactor") or facts.base.is_critters:
        return None
    full = recipe.adapter.kind == "full"
    if full and recipe.base.from_scratch is not None:
        return None
    rate, limit = recipe.optimizer.learning_rate, HIGHEST_FULL_RATE if full else HIGHEST_LORA_RATE
    what, usual = ("a full fine-tune", 1e-5) if full else ("a LoRA", 1e-4)
    return applies(rate > limit, rate=rate, what=what, usual=usual)


@rule(
    "warn",
    "optimizer.learning_rate",
    reason="no weight moves further than the rate in a step, so {steps} steps of {rate:g} move "
    "none by more than {reach:.2g}: a LoRA that starts at zero stays invisible",
    fix="set optimizer.learning_rate=1e-4, or train longer",
    source="Kingma and Ba 2015, arXiv 1412.6980, section 2.1: the step is bounded by the rate",
)
def rate_out_of_reach(recipe: Recipe, facts: Facts) -> Found:
    """A LoRA whose rate times steps cannot bring its weights anywhere."""
    steps, rate = facts.total_steps(recipe), recipe.optimizer.learning_rate
    if steps is None or recipe.adapter.kind == "full" or recipe.optimizer.kind not in _BOUNDED:
        return None
    return applies(steps * rate < LEAST_REACH, steps=steps, rate=rate, reach=steps * rate)


@rule(
    "note",
    "optimizer.text_encoder_learning_rate",
    reason="the text encoder learns at the U-Net's {rate:g}, and it overfits sooner: words that "
    "have nothing to do with the concept change their meaning",
    fix="set optimizer.text_encoder_learning_rate={half:g}",
    source="kohya's train_network guide: 5e-5 beside the U-Net's 1e-4",
)
def text_encoder_rate(recipe: Recipe, facts: Facts) -> Found:
    """The text encoder trained at the U-Net's own rate."""
    rate, own = recipe.optimizer.learning_rate, recipe.optimizer.text_encoder_learning_rate
    trained = recipe.adapter.text_encoder and recipe.optimizer.kind != "prodigy"
    return applies(trained and (own or rate) >= rate, rate=rate, half=rate / 2)


@rule(
    "note",
    "training.gradient_clip",
    reason="without a limit one odd image can throw the weights off with a single step",
    fix="set training.gradient_clip=1",
    source="Pascanu et al. 2013, arXiv 1211.5063; diffusers' training examples clip at 1",
)
def no_gradient_clip(recipe: Recipe, facts: Facts) -> Found:
    """Gradients of any length are taken."""
    return applies(recipe.training.gradient_clip is None)
