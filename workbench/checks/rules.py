"""What a rule is, and the table of them all.

A rule is a function that says whether it applies, decorated with everything that there is to say
about it: how bad it is, where it is set, why it matters, what to do, and who knows it. So a
finding, the table in docs/checks.md and a form read the same words.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from workbench.checks.base import Base
from workbench.data.tokens import estimate_tokens
from workbench.models.clip import MOST_TOKENS, WINDOW
from workbench.models.loading import caption_tokens
from workbench.recipe import Recipe

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

Severity = Literal["refuse", "warn", "note"]
SEVERITIES: tuple[Severity, ...] = ("refuse", "warn", "note")
# What a rule found: the values that its sentences name; None where it does not apply.
Found = dict[str, object] | None


@dataclass(frozen=True, slots=True)
class TooLong:
    """Texts that are not read whole.

    Attributes:
        count: how many.
        tokens: of the longest.
        limit: most tokens that are read.
        text: the longest.
    """

    count: int
    tokens: int
    limit: int
    text: str

    @property
    def fits(self) -> int | None:
        """A `data.captions.max_tokens` that reads more of them; None where there is none."""
        if self.limit % WINDOW or self.limit >= MOST_TOKENS:  # no CLIP, or all its windows
            return None
        return min(MOST_TOKENS, -(-self.tokens // WINDOW) * WINDOW)


@dataclass(frozen=True)
class Facts:
    """What the recipe alone does not say.

    Attributes:
        base: what is known of the base model without loading it.
        dataset: the pictures, where they were read already.
        cuda: whether there is a CUDA device.
        native_bfloat16: whether it, or the CPU, computes in bfloat16 without emulation.
    """

    base: Base
    dataset: "Dataset | None" = None
    cuda: bool = False
    native_bfloat16: bool = True

    @cached_property
    def num_showings(self) -> int | None:
        """Pictures shown in an epoch, repeats counted; None before the dataset is read."""
        return None if self.dataset is None else sum(self.dataset.repeats)

    @cached_property
    def captions(self) -> Sequence[tuple[int, str]]:
        """Subset and caption on disk of every picture; none for a world drawn without end."""
        if self.dataset is None or self.dataset.is_drawn:
            return ()
        return [(record.subset, record.caption) for record in self.dataset.records]

    @cached_property
    def scales(self) -> Sequence[float]:
        """How much each picture is enlarged to its bucket; none for a drawn world."""
        if self.dataset is None or self.dataset.is_drawn:
            return ()
        return [placement.scale for placement in self.dataset.placements]

    @cached_property
    def coverages(self) -> Sequence[float]:
        """Share of each mask file that is white, of the pictures that have one."""
        if self.dataset is None or self.dataset.is_drawn:
            return ()
        return [mask.coverage for mask in self.dataset.masks if mask is not None]

    @property
    def learnt(self) -> Sequence[float]:
        """Those of `coverages` that weigh the loss."""
        return () if self.base.inpaints else self.coverages

    @property
    def filled(self) -> Sequence[float]:
        """Those of `coverages` that a base for inpainting fills in."""
        return self.coverages if self.base.inpaints else ()

    @cached_property
    def showings_by_bucket(self) -> Counter[tuple[int, int]]:
        """Showings in an epoch by bucket; none for a drawn world."""
        counts: Counter[tuple[int, int]] = Counter()
        if self.dataset is not None and not self.dataset.is_drawn:
            for placement, repeats in zip(
                self.dataset.placements, self.dataset.repeats, strict=True
            ):
                counts[placement.bucket] += repeats
        return counts

    @cached_property
    def texts(self) -> Sequence[tuple[str, str]]:
        """Name and whole caption of every picture, its trigger in front; none for a drawn world."""
        if self.dataset is None or self.dataset.is_drawn:
            return ()
        records = enumerate(self.dataset.records)
        return [(record.name, self.dataset.plain_caption(index)) for index, record in records]

    def too_long(self, recipe: Recipe, texts: Sequence[str]) -> "TooLong | None":
        """Count the texts whose end is not read.

        Args:
            recipe: names the base and the limit.
            texts: captions or prompts.
        Returns:
            How many, and by how much, estimated where no tokenizer is known yet; None where all
            are read whole.
        """
        # A token has one byte or more: most data sets need no tokenizer.
        candidates = [text for text in texts if len(text.encode()) > WINDOW]
        if not candidates or self.base.refused:
            return None
        tokens = caption_tokens(recipe.base, recipe.data.captions.max_tokens)
        limit = recipe.data.captions.max_tokens if tokens is None else tokens.max_tokens
        if limit is None or (tokens is None and self.base.family is not None):
            return None
        # Of a base that is not here yet nothing is known: most read as CLIP does.
        count_tokens = estimate_tokens if tokens is None else tokens.count_tokens
        counts = {text: count_tokens(text) for text in dict.fromkeys(candidates)}
        longest = max(counts, key=counts.__getitem__)
        count = sum(counts[text] > limit for text in candidates)
        return TooLong(count, counts[longest], limit, longest) if count else None

    def total_steps(self, recipe: Recipe) -> int | None:
        """Optimizer steps of the run.

        Args:
            recipe: what is to run.
        Returns:
            Steps; None where they are not known before the dataset is read, or at all.
        """
        return recipe.length.total_steps(self.steps_per_epoch(recipe) or 0)

    def steps_per_epoch(self, recipe: Recipe) -> int | None:
        """Optimizer steps that show every picture once.

        Args:
            recipe: what is to run.
        Returns:
            At least 1; None while unknown.
        """
        if self.num_showings is None:
            return None
        return max(1, -(-self.num_showings // images_per_step(recipe)))


Condition = Callable[[Recipe, Facts], Found]


@dataclass(frozen=True, slots=True)
class Rule:
    """One pitfall.

    Attributes:
        id: what `checks.allow` names.
        severity: refuse: it cannot end well; warn: it rarely does; note: worth knowing.
        setting: path of the setting that a form shows it beside; may name found values in braces.
        when: in words, what it looks for.
        reason: why it matters; names found values in braces.
        fix: what to do about it, likewise.
        source: where this is known from.
        topic: which part of a recipe it belongs to.
        condition: gives the found values where it applies.
        allowable: `checks.allow` can set it aside; otherwise it cannot run at all.
    """

    id: str
    severity: Severity
    setting: str
    when: str
    reason: str
    fix: str
    source: str
    topic: str
    condition: Condition
    allowable: bool


RULES: dict[str, Rule] = {}


def settings_path(rule: Rule) -> str:
    """Where a rule's findings are shown, before there are any.

    Args:
        rule: of `RULES`.
    Returns:
        Path of the setting; the first item stands for those of a list, the outermost noise for
        those inside it.
    """
    return (
        rule.setting.replace("{index}", "0")
        .replace("{where}", "noise")
        .replace("{knob}", "accumulation")
    )


def rule(
    severity: Severity,
    setting: str,
    *,
    reason: str,
    fix: str,
    source: str,
    allowable: bool = True,
) -> Callable[[Condition], Condition]:
    """Put a function among the rules, under its own name; its docstring says what it looks for.

    Args:
        severity: see `Rule`; so are all others.
        setting: path of the setting.
        reason: why it matters.
        fix: what to do.
        source: where this is known from.
        allowable: whether `checks.allow` can set it aside.
    Returns:
        A decorator that hands the function back.
    """

    def register(condition: Condition) -> Condition:
        name = getattr(condition, "__name__")  # noqa: B009
        assert name not in RULES, f"two rules are called {name}"
        RULES[name] = Rule(
            id=name,
            severity=severity,
            setting=setting,
            when=" ".join((condition.__doc__ or "").split()).removesuffix("."),
            reason=reason,
            fix=fix,
            source=source,
            topic=condition.__module__.rpartition(".")[2],
            condition=condition,
            allowable=allowable,
        )
        return condition

    return register


def applies(holds: object, **values: object) -> Found:
    """Say whether a rule applies, with the values that its sentences name.

    Args:
        holds: whether it does.
        values: name to value.
    Returns:
        The values, or None.
    """
    return values if holds else None


def images_per_step(recipe: Recipe) -> int:
    """Pictures that one process shows in one optimizer step.

    Args:
        recipe: what is to run.
    Returns:
        Batch size times accumulation.
    """
    return recipe.training.batch_size * recipe.training.accumulation
