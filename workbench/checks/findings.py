"""Which rules apply to a recipe, and what follows from it."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.checks.base import look
from workbench.checks.rules import RULES, SEVERITIES, Facts, Rule
from workbench.recipe import Recipe
from workbench.records.events import Event, Started, Warned
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.training.run import Run


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that applies to a recipe.

    Attributes:
        rule: which one; its id, severity and source.
        setting: path of the setting that it is about, for a form to show it there.
        reason: why it matters, with the values found.
        fix: what to do about it.
        allowed: the user takes it on with `checks.allow`.
    """

    rule: Rule
    setting: str
    reason: str
    fix: str
    allowed: bool

    @property
    def stops(self) -> bool:
        """Whether the recipe must not run."""
        return self.rule.severity == "refuse" and not self.allowed


def check(recipe: Recipe, *, dataset: "Dataset | None" = None) -> list[Finding]:
    """Find the pitfalls of a recipe.

    Args:
        recipe: what is to run.
        dataset: its images, where they were read already; some rules need them.
    Returns:
        Findings, the worst first.
    Raises:
        SettingsError: `checks.allow` names no rule.
    """
    for name in recipe.checks.allow:
        if name not in RULES:
            near = difflib.get_close_matches(name, RULES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise SettingsError(
                f"checks.allow: {name!r} is no rule; {hint}they are {', '.join(RULES)}"
            )
    facts = _facts(recipe, dataset)
    allowed = set(recipe.checks.allow)
    found = [
        Finding(
            rule,
            rule.setting.format(**values),
            rule.reason.format(**values),
            rule.fix.format(**values),
            rule.allowable and rule.id in allowed,
        )
        for rule in RULES.values()
        if (values := rule.condition(recipe, facts)) is not None
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.rule.severity))


def _facts(recipe: Recipe, dataset: "Dataset | None") -> Facts:
    import torch

    cuda = torch.cuda.is_available()
    native = not cuda or torch.cuda.is_bf16_supported(including_emulation=False)
    return Facts(look(recipe.base), dataset, cuda=cuda, native_bfloat16=native)


def require(recipe: Recipe, *, dataset: "Dataset | None" = None) -> list[Finding]:
    """Refuse a recipe that cannot end well, before anything is loaded for it.

    Args:
        recipe: what is to run.
        dataset: see `check`.
    Returns:
        What remains to be said: warnings, notes, and what was allowed.
    Raises:
        SettingsError: one line for each refused combination.
    """
    findings = check(recipe, dataset=dataset)
    refused = [finding for finding in findings if finding.stops]
    if refused:
        raise SettingsError("\n".join(f"{x.reason}; {x.fix}{_way_round(x)}" for x in refused))
    return findings


def _way_round(finding: Finding) -> str:
    return f" (or allow it: checks.allow={finding.rule.id})" if finding.rule.allowable else ""


def observe(run: "Run", event: Event) -> Iterator[Warned]:
    """Say a run's pitfalls in its events, right after it has started.

    Args:
        run: the run.
        event: its latest event.
    Yields:
        One warning for each finding.
    """
    if isinstance(event, Started):
        for finding in require(run.recipe, dataset=run.trainer.dataset):
            yield Warned(
                id=finding.rule.id,
                message=finding.reason,
                fix=finding.fix,
                severity="note" if finding.rule.severity == "note" else "warn",
            )
