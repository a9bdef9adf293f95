"""Adapters: rank, alpha, what learns."""

from workbench.adapters.files import require_adapter
from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe
from workbench.store import FileRefused


@rule(
    "refuse",
    "adapter.start_from",
    reason="{refused}",
    fix="choose another adapter.start_from, or mend what it names",
    source="the file's own header; no weight is read for it",
    allowable=False,
)
def start_unusable(recipe: Recipe, facts: Facts) -> Found:
    """A start_from that is not there, is no LoRA, or of a method that is not read."""
    start = None if recipe.adapter.kind == "full" else recipe.adapter.start_from
    if start is None:
        return None
    try:
        require_adapter(start)
    except FileRefused as error:
        return applies(True, refused=error)
    return None


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
    scale, rank = _scale(recipe)
    return applies(scale is not None and scale > 2, scale=scale, rank=rank)


@rule(
    "note",
    "adapter.alpha",
    reason="alpha / rank is {scale:.3g}, so the LoRA learns as if the rate were that much lower",
    fix="set adapter.alpha={rank}, or raise the rate on purpose",
    source="kohya's scripts take alpha 1 where none is given; the scale is alpha / rank",
)
def alpha_small(recipe: Recipe, facts: Facts) -> Found:
    """An alpha of less than an eighth of the rank."""
    scale, rank = _scale(recipe)
    return applies(scale is not None and scale < 1 / 8, scale=scale, rank=rank)


def _scale(recipe: Recipe) -> tuple[float | None, int]:
    """Alpha / rank where somebody chose it, and the rank."""
    adapter = recipe.adapter
    if adapter.kind == "full" or adapter.alpha is None:
        return None, 0
    scaled = adapter.kind == "lora" and adapter.rank_scaled
    return None if scaled else adapter.alpha / adapter.rank, adapter.rank


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


@rule(
    "note",
    "adapter.rank_scaled",
    reason="with rank_scaled the LoRA acts {scale:.3g} times as strongly as alpha / rank = 1 "
    "would, and so does the rate",
    fix="lower optimizer.learning_rate, or set adapter.alpha={alpha:.3g}",
    source="Kalajdzievski 2023, arXiv 2312.03732: the scale is alpha / sqrt(rank)",
)
def rank_scaled_alone(recipe: Recipe, facts: Facts) -> Found:
    """RsLoRA with alpha left at the rank."""
    if recipe.adapter.kind != "lora" or not recipe.adapter.rank_scaled:
        return None
    root = recipe.adapter.rank**0.5
    return applies(recipe.adapter.alpha is None and root > 2, scale=root, alpha=root)


@rule(
    "warn",
    "adapter.init",
    reason="the file holds a difference from the start, twice as many matrices as were trained, "
    "and bfloat16 keeps 8 bits of each",
    fix="set output.dtype=float16 or float32",
    source="adapters/starting.py: W' - W = B A - B0 A0",
)
def init_in_bfloat16(recipe: Recipe, facts: Facts) -> Found:
    """PiSSA or OLoRA saved in bfloat16."""
    moved = recipe.adapter.kind == "lora" and recipe.adapter.init != "zero"
    return applies(moved and recipe.output.dtype == "bfloat16")


@rule(
    "note",
    "adapter.init",
    reason="the saved file has rank {doubled}, twice that of training, so that it fits the "
    "untouched base",
    fix="workbench convert --rank halves it again; adapter.init=zero needs no such thing",
    source="Meng et al. 2024, arXiv 2404.02948, appendix C: a PiSSA as a LoRA of twice the rank",
)
def init_doubles_rank(recipe: Recipe, facts: Facts) -> Found:
    """PiSSA or OLoRA."""
    if recipe.adapter.kind != "lora" or recipe.adapter.init == "zero":
        return None
    return applies(True, doubled=2 * recipe.adapter.rank)


@rule(
    "warn",
    "adapter.rank",
    reason="a LoHa's change has a rank of up to {rank} squared: so wide it only costs memory",
    fix="set adapter.rank=8, at most 32",
    source="LyCORIS' guidelines; Hyeon-Woo et al. 2021, arXiv 2108.06098",
)
def loha_rank(recipe: Recipe, facts: Facts) -> Found:
    """A LoHa of rank above 32."""
    wide = recipe.adapter.kind == "loha" and recipe.adapter.rank > 32
    return applies(wide, rank=getattr(recipe.adapter, "rank", 0))


@rule(
    "refuse",
    "adapter.rank_dropout",
    reason="DoRA divides by the length of W + dW, which changes with every part of the bottleneck "
    "left out, and no factor makes up for it: black stripes have been reported",
    fix="set adapter.rank_dropout=0 and adapter.module_dropout={share:g}, which leaves out whole "
    "layers",
    source="sd-scripts #1169, #1214; LyCORIS #246",
)
def dora_rank_dropout(recipe: Recipe, facts: Facts) -> Found:
    """DoRA with rank dropout."""
    if recipe.adapter.kind != "lora":
        return None
    share = recipe.adapter.rank_dropout
    return applies(recipe.adapter.dora and share > 0, share=share)


@rule(
    "refuse",
    "training.trainable_dtype",
    reason="a DoRA divides by lengths that bfloat16 knows to 0.4 %: it starts 0.1 to 1 % away from "
    "its base, and its file is not what was trained",
    fix="set training.trainable_dtype=float32",
    source="tests/adapters/test_lora.py: the start of a DoRA in both types",
)
def dora_bfloat16(recipe: Recipe, facts: Facts) -> Found:
    """DoRA whose weights learn in bfloat16."""
    narrow = recipe.training.trainable_dtype == "bfloat16"
    return applies(recipe.adapter.kind == "lora" and recipe.adapter.dora and narrow)


@rule(
    "note",
    "adapter.dora",
    reason="diffusers drops a DoRA's lengths from kohya files with only a warning, and ComfyUI is "
    "some percent off",
    fix="set used_in to the programs that will read it; workbench verify says how far they are "
    "off, and workbench convert --rank writes a plain LoRA",
    source="docs/adapters.md",
)
def dora_readers(recipe: Recipe, facts: Facts) -> Found:
    """DoRA, whose files not every program reads right, and no used_in."""
    lone = recipe.adapter.kind == "lora" and recipe.adapter.dora and not recipe.used_in
    return applies(lone)


@rule(
    "note",
    "adapter.kind",
    reason="diffusers' pipelines do not read the files of {kind}",
    fix="set used_in to the programs that will read it; workbench convert --rank makes a plain "
    "LoRA of it",
    source="docs/adapters.md",
)
def lycoris_readers(recipe: Recipe, facts: Facts) -> Found:
    """LoHa or LoKr, whose files not every program reads, and no used_in."""
    kind = recipe.adapter.kind
    return applies(kind in ("loha", "lokr") and not recipe.used_in, kind=kind)


@rule(
    "note",
    "adapter.max_norm",
    reason="max_norm={limit:g} holds nearly every layer back",
    fix="set adapter.max_norm=1",
    source="kohya's scale_weight_norms: 1 is a good starting point",
)
def max_norm_low(recipe: Recipe, facts: Facts) -> Found:
    """A limit of |dW| below 0.1."""
    if recipe.adapter.kind == "full" or recipe.adapter.max_norm is None:
        return None
    return applies(recipe.adapter.max_norm < 0.1, limit=recipe.adapter.max_norm)
