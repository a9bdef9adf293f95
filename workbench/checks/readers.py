"""Programs that the file is for (`used_in`), and what they make of it."""

from collections.abc import Collection

from workbench.adapters.readers import TABLE, TITLES, Feature, features_of
from workbench.checks.rules import Facts, Found, applies, rule
from workbench.recipe import Recipe

_SOURCE = "docs/adapters.md: who reads it, and how each row was checked"
_METHODS: frozenset[Feature] = frozenset({"loha", "lokr", "full"})
_UNETS = (None, "sd", "sdxl")  # families; all others have a transformer
_LARGE_RANK = 32  # for a plain LoRA of a method without a rank of its own


def _found(recipe: Recipe, facts: Facts, features: Collection[Feature]) -> Found:
    """Each of the named programs that does not read these features as they are."""
    held = features_of(recipe.adapter, transformer=facts.base.family not in _UNETS)
    wrong = [
        (TITLES[reader], TABLE[feature][reader])
        for feature in held
        if feature in features
        for reader in dict.fromkeys(recipe.used_in)
        if TABLE[feature][reader].verdict != "reads"
    ]
    rank = getattr(recipe.adapter, "rank", None) or _LARGE_RANK
    values = {"rank": rank, "outside": "4 layers" if facts.base.family == "sdxl" else "2 layers"}
    said = "; ".join(f"{title} {reading.says}" for title, reading in wrong)
    fixes = dict.fromkeys(reading.fix.format(**values) for _, reading in wrong)
    return applies(wrong, said=said.format(**values), ways="; or ".join(fixes))


@rule("warn", "adapter.dora", reason="{said}", fix="{ways}", source=_SOURCE)
def used_in_dora(recipe: Recipe, facts: Facts) -> Found:
    """DoRA for a program, named in used_in, that makes another weight of it."""
    return _found(recipe, facts, {"dora"})


@rule("warn", "adapter.kind", reason="{said}", fix="{ways}", source=_SOURCE)
def used_in_method(recipe: Recipe, facts: Facts) -> Found:
    """LoHa, LoKr or a full fine-tune for a program, named in used_in, that does not read it."""
    return _found(recipe, facts, _METHODS)


@rule("warn", "base.path", reason="{said}", fix="{ways}", source=_SOURCE)
def used_in_family(recipe: Recipe, facts: Facts) -> Found:
    """A transformer for a program, named in used_in, that does not read its LoRA files."""
    return _found(recipe, facts, {"transformer"})


@rule("note", "adapter.groups", reason="{said}", fix="{ways}", source=_SOURCE)
def used_in_groups(recipe: Recipe, facts: Facts) -> Found:
    """Layers that a program, named in used_in, leaves out."""
    others: set[Feature] = set(TABLE) - _METHODS - {"dora", "transformer"}
    return _found(recipe, facts, others)
