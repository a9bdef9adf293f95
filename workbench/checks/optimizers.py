"""Optimizers and rates."""

import importlib.util

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.optim.optimizers import DAdaptation, Prodigy
from workbench.recipe import Recipe

# Rates beyond these burn a base in; LoRA's B starts at zero and bears more than a whole weight.
HIGHEST_LORA_RATE, HIGHEST_FULL_RATE = 2e-3, 1e-4
# A LoRA whose B cannot reach this stays invisible.
LEAST_REACH = 0.002
_ADAM_LIKE = ("adamw", "adamw8bit", "paged_adamw8bit", "adafactor", "came")
_BOUNDED = (*_ADAM_LIKE, "lion", "lion8bit")


@rule(
    "refuse",
    "optimizer.learning_rate",
    reason="{kind} multiplies the rate it finds by optimizer.learning_rate, and {rate:g} leaves "
    "next to nothing of it",
    fix="set optimizer.learning_rate=1",
    source="the READMEs of prodigyopt and dadaptation: leave lr at 1",
)
def prodigy_rate(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy or D-Adaptation with a learning rate below 0.1."""
    rate, kind = recipe.optimizer.learning_rate, recipe.optimizer.kind
    return applies(recipe.optimizer.one_rate and rate < 0.1, rate=rate, kind=kind)


@rule(
    "refuse",
    "optimizer.text_encoder_learning_rate",
    reason="{kind} finds one rate for all weights, and optimizer.text_encoder_learning_rate is "
    "{rate:g}",
    fix="set optimizer.text_encoder_learning_rate=none",
    source="prodigyopt raises on groups of two rates; dadaptation reads the first one's in silence",
    allowable=False,
)
def prodigy_two_rates(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy or D-Adaptation with another rate for the text encoders."""
    rate, kind = recipe.optimizer.text_encoder_learning_rate, recipe.optimizer.kind
    differs = rate not in (None, recipe.optimizer.learning_rate)
    return applies(recipe.optimizer.one_rate and differs, rate=rate, kind=kind)


@rule(
    "refuse",
    "adapter.blocks",
    reason="{kind} finds one rate for all weights, and the adapter gives some of them a rate of "
    "their own",
    fix="leave b_rate_factor and rate_factor out, or set optimizer.kind=adamw",
    source="prodigyopt raises on groups of two rates; dadaptation reads the first one's in silence",
    allowable=False,
)
def prodigy_rate_factors(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy or D-Adaptation with LoRA+ or rates by block."""
    adapter = recipe.adapter
    if adapter.kind == "full" or not recipe.optimizer.one_rate:
        return None
    by_block = any(block.rate_factor not in (0, 1) for block in adapter.blocks)
    plus = adapter.kind == "lora" and adapter.b_rate_factor != 1
    return applies(by_block or plus, kind=recipe.optimizer.kind)


@rule(
    "refuse",
    "training.trainable_dtype",
    reason="the first update, about {d0:g}, is below half the precision of bfloat16 weights: only "
    "those that start at 0 move, and in a full fine-tune the estimate d never does",
    fix="set training.trainable_dtype=float32, or training.stochastic_rounding=true",
    source="measured: d is still d0 after 400 steps (tests/optim/test_methods.py)",
)
def prodigy_bfloat16(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy or D-Adaptation on bfloat16 weights, rounded to the nearest."""
    if not isinstance(recipe.optimizer, Prodigy | DAdaptation):
        return None
    return applies(_rounds_to_nearest(recipe), d0=recipe.optimizer.d0)


@rule(
    "warn",
    "training.trainable_dtype",
    reason="bfloat16 drops updates below 1/512 of a weight, so small rates train nothing",
    fix="set training.stochastic_rounding=true, or training.trainable_dtype=float32",
    source="Zamirai et al. 2020, arXiv 2010.06192",
)
def bfloat16_to_nearest(recipe: Recipe, facts: Facts) -> Found:
    """bfloat16 weights that learn, rounded to the nearest."""
    return applies(_rounds_to_nearest(recipe) and not recipe.optimizer.one_rate)


def _rounds_to_nearest(recipe: Recipe) -> bool:
    training = recipe.training
    return training.trainable_dtype == "bfloat16" and not training.stochastic_rounding


@rule(
    "note",
    "training.trainable_dtype",
    reason="a LoRA is small: bfloat16 saves next to nothing and costs precision",
    fix="set training.trainable_dtype=float32",
    source="the weights that learn are some percent of a model; the rest has base.dtype",
)
def bfloat16_lora(recipe: Recipe, facts: Facts) -> Found:
    """bfloat16 weights of an adapter."""
    narrow = recipe.training.trainable_dtype == "bfloat16"
    return applies(narrow and recipe.adapter.kind != "full")


@rule(
    "warn",
    "schedule.kind",
    reason="{kind}'s estimate only ever rises, so a restart hits the weights with the full rate "
    "again",
    fix="set schedule.kind=constant or cosine",
    source="prodigyopt's README: constant, or cosine without restarts",
)
def prodigy_restarts(recipe: Recipe, facts: Facts) -> Found:
    """Prodigy or D-Adaptation with a schedule that restarts."""
    restarts = recipe.schedule.kind == "cosine_restarts"
    return applies(recipe.optimizer.one_rate and restarts, kind=recipe.optimizer.kind)


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
    reason="optimizer.kind={kind!r} needs the package {package}, which is not installed",
    fix="pip install {package}, or set optimizer.kind=adamw",
    source="the library's import",
    allowable=False,
)
def missing_library(recipe: Recipe, facts: Facts) -> Found:
    """An optimizer without the package that it comes from."""
    module = recipe.optimizer.package
    if module is None or importlib.util.find_spec(module):
        return None
    return applies(True, kind=recipe.optimizer.kind, package=module.replace("_", "-"))


@rule(
    "refuse",
    "optimizer.path",
    reason="{problem}",
    fix="look at optimizer.path and optimizer.options",
    source="it is built for one weight, to see",
    allowable=False,
)
def custom_unbuildable(recipe: Recipe, facts: Facts) -> Found:
    """An optimizer of one's own that cannot be built."""
    if recipe.optimizer.kind != "custom":
        return None
    problem = recipe.optimizer.problem()
    return applies(problem, problem=problem)


@rule(
    "refuse",
    "schedule.kind",
    reason="schedule_free averages its weights in place of lowering the rate, and "
    "schedule.kind={kind} stops them a second time",
    fix="set schedule.kind=constant",
    source="Defazio et al. 2024, arXiv 2405.15682",
    allowable=False,
)
def schedule_free_schedule(recipe: Recipe, facts: Facts) -> Found:
    """A falling schedule over schedule_free."""
    kind = recipe.schedule.kind
    return applies(recipe.optimizer.own_schedule and kind != "constant", kind=kind)


@rule(
    "note",
    "schedule.warmup",
    reason="schedule_free starts at its full rate",
    fix="set schedule.warmup=0.05",
    source="schedulefree's README, caveats: use a warm-up",
)
def schedule_free_warmup(recipe: Recipe, facts: Facts) -> Found:
    """schedule_free without a warm-up."""
    return applies(recipe.optimizer.own_schedule and recipe.schedule.warmup == 0)


@rule(
    "note",
    "ema.decay",
    reason="schedule_free averages its weights already; this is an average of an average",
    fix="leave `ema` out",
    source="Defazio et al. 2024, arXiv 2405.15682, section 2",
)
def schedule_free_ema(recipe: Recipe, facts: Facts) -> Found:
    """A moving average over schedule_free."""
    return applies(recipe.optimizer.own_schedule and recipe.ema is not None)


@rule(
    "note",
    "optimizer.kind",
    reason="the narrowest matrices of rank {rank} hold fewer than {least} weights and keep 32-bit "
    "averages",
    fix="{plain} does the same here; 8 bits pay for full fine-tunes",
    source="bitsandbytes: tensors below min_8bit_size stay in 32 bits",
)
def small_for_8bit(recipe: Recipe, facts: Facts) -> Found:
    """8-bit averages for a LoRA too small to have any."""
    optimizer, adapter = recipe.optimizer, recipe.adapter
    if "8bit" not in optimizer.kind or adapter.kind != "lora":
        return None
    least, plain = getattr(optimizer, "min_8bit_size", 0), optimizer.kind.partition("8bit")[0]
    plain = plain.removeprefix("paged_")
    return applies(adapter.rank * 320 < least, rank=adapter.rank, least=least, plain=plain)


@rule(
    "note",
    "optimizer.kind",
    reason="on a CPU there is nothing to page out, so it is adamw8bit under another name",
    fix="set optimizer.kind=adamw8bit",
    source="bitsandbytes: paged variants fall back",
)
def paged_on_cpu(recipe: Recipe, facts: Facts) -> Found:
    """A paged optimizer without a GPU."""
    return applies(recipe.optimizer.kind == "paged_adamw8bit" and not facts.cuda)


@rule(
    "note",
    "optimizer.kind",
    reason="dadaptation's estimate of the rate rises slowly, and the run has only {steps} steps",
    fix="set optimizer.kind=prodigy, or optimizer.d0=1e-5",
    source="dadaptation's README recommends prodigy, its successor",
)
def dadaptation_short(recipe: Recipe, facts: Facts) -> Found:
    """D-Adaptation over fewer than 200 steps."""
    steps = facts.total_steps(recipe) or 200
    return applies(recipe.optimizer.kind == "dadaptation" and steps < 200, steps=steps)


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
    high = recipe.optimizer.kind in ("lion", "lion8bit") and rate > 1e-4
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
    if recipe.optimizer.kind not in _ADAM_LIKE or facts.base.is_critters:
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
    trained = recipe.adapter.text_encoder and not recipe.optimizer.one_rate
    return applies(trained and (own or rate) >= rate, rate=rate, half=rate / 2)


@rule(
    "warn",
    "optimizer.text_encoder_learning_rate",
    reason="optimizer.text_encoder_learning_rate={rate:g} is used by nothing: no text encoder "
    "learns",
    fix="set adapter.text_encoder=true, or leave optimizer.text_encoder_learning_rate out",
    source="the rate is that of the adapter on the text encoders",
)
def text_encoder_rate_unused(recipe: Recipe, facts: Facts) -> Found:
    """A rate for text encoders that do not learn."""
    rate = recipe.optimizer.text_encoder_learning_rate
    return applies(rate is not None and not recipe.adapter.text_encoder, rate=rate)


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
