"""Adapters: rank, alpha, what learns."""

from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe


@rule(
    "warn",
    "adapter.alpha",
    reason="alpha / rank is {scale:.3g}, and it multiplies all that the LoRA does: the rate acts "
    "{scale:.3g} times as strongly, and the file is too strong at 1",
    fix="set adapter.alpha={rank} or half of it",
    source="Hu et al. 2021, arXiv 2106.09685, section 4.1: tuning alpha is tuning the rate",
)
def alpha_large(recipe: Recipe, facts: Facts) -> Found:
    """An alpha of more than twice the rank."""
    if recipe.adapter.kind != "lora" or recipe.adapter.alpha is None:
        return None
    scale, rank = recipe.adapter.alpha / recipe.adapter.rank, recipe.adapter.rank
    return applies(scale > 2 and not recipe.adapter.rank_scaled, scale=scale, rank=rank)


@rule(
    "note",
    "adapter.alpha",
    reason="alpha / rank is {scale:.3g}, so the LoRA learns as if the rate were that much lower",
    fix="set adapter.alpha={rank}, or raise the rate on purpose",
    source="kohya's scripts take alpha 1 where none is given; the scale is alpha / rank",
)
def alpha_small(recipe: Recipe, facts: Facts) -> Found:
    """An alpha of less than an eighth of the rank."""
    if recipe.adapter.kind != "lora" or recipe.adapter.alpha is None:
        return None
    scale, rank = recipe.adapter.alpha / recipe.adapter.rank, recipe.adapter.rank
    return applies(scale < 1 / 8 and not recipe.adapter.rank_scaled, scale=scale, rank=rank)


@rule(
    "note",
    "adapter.rank_scaled",
    reason="with alpha / rank the gradients shrink as the rank grows, so rank {rank} learns hardly "
    "more than a quarter of it would",
    fix="set adapter.rank_scaled=true and lower the rate, or take a lower rank",
    source="Kalajdzievski 2023, arXiv 2312.03732",
)
def rank_without_scaling(recipe: Recipe, facts: Facts) -> Found:
    """A rank of 128 or more, scaled by alpha / rank."""
    if recipe.adapter.kind != "lora":
        return None
    rank = recipe.adapter.rank
    return applies(rank >= 128 and not recipe.adapter.rank_scaled, rank=rank)


@rule(
    "note",
    "adapter.rank",
    reason="rank {rank} holds more than {pictures} pictures can teach: it learns them by heart",
    fix="set adapter.rank=16",
    source="Biderman et al. 2024, arXiv 2405.09673: a lower rank forgets less",
)
def rank_for_few(recipe: Recipe, facts: Facts) -> Found:
    """A rank of 64 or more for fewer than 20 pictures of real size."""
    pictures = len(facts.captions)
    if recipe.adapter.kind != "lora" or facts.base.is_critters:
        return None
    many = recipe.adapter.rank >= 64 and 0 < pictures < 20
    return applies(many, rank=recipe.adapter.rank, pictures=pictures)


@rule(
    "warn",
    "adapter.dropout",
    reason="with {dropout:.0%} of its inputs missing the adapter learns from what is left of them",
    fix="set adapter.dropout=0.1 or 0",
    source="the examples of peft and kohya: 0 to 0.1",
)
def dropout_high(recipe: Recipe, facts: Facts) -> Found:
    """An adapter dropout of one half or more."""
    dropout = getattr(recipe.adapter, "dropout", 0.0)
    return applies(dropout >= 0.5, dropout=dropout)


@rule(
    "warn",
    "adapter.keep_start",
    reason="the report compares with the base, and a full fine-tune that keeps no copy of its "
    "first weights has no base left",
    fix="set adapter.keep_start=true, or output.report=false",
    source="adapters/full.py",
)
def no_base_left(recipe: Recipe, facts: Facts) -> Found:
    """A full fine-tune without its first weights, and a report that needs them."""
    if recipe.adapter.kind != "full":
        return None
    return applies(not recipe.adapter.keep_start and recipe.output.report)


@rule(
    "note",
    "output.dtype",
    reason="bfloat16 keeps 8 bits of each weight, so the file's change is up to 0.4 % off what was "
    "trained; float16 is as small and eight times finer",
    fix="set output.dtype=float16",
    source="rounding: 2^-8 for bfloat16, 2^-11 for float16",
)
def bfloat16_file(recipe: Recipe, facts: Facts) -> Found:
    """A LoRA file saved in bfloat16."""
    return applies(recipe.adapter.kind != "full" and recipe.output.dtype == "bfloat16")
