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
