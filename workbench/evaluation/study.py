"""Is it better than the base? Six questions, each answered by one confirmatory measure.

All measures of a comparison are one family: Holm's p decide, the intervals shown are Bonferroni's.
"No clear change" is never called "the same": that needs the interval inside a margin.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from workbench.evaluation.drift import AXES, moves
from workbench.evaluation.features import SUPPLY, Features
from workbench.evaluation.measures import DIVERSITY, LIKENESS, MATCH, spread
from workbench.evaluation.results import Pair
from workbench.evaluation.statistics import (
    LEVEL,
    MIN_PROMPTS,
    MIN_SEEDS,
    estimate,
    family_level,
    holm,
    hotelling,
    is_equivalent,
    prompts_needed,
    unit_means,
)
from workbench.records.events import Validated
from workbench.records.judgement import Answer, Interval, Question, Reply, Word

MIN_IMAGES = 4  # images are noised the same for base and trained, and vary far less than pictures
LEARNED_MARGIN = 0.005  # relative change of the stable loss; smaller ones are none
COLOUR_MARGIN = 2.0  # L*a*b*: about the least difference that is seen side by side
JUDGE_SHARE = 0.1  # of the way from the base's likeness to that among the training pictures


@dataclass(frozen=True, slots=True)
class Finding:
    """One question before its family is known.

    Attributes:
        question: which.
        names: of the measures, one a column.
        values: change of each unit, (P, K).
        margin: of equivalence; None where there is none to state.
        better: +1 where more is better, -1 where less is, 0 where any move counts.
        unit: "prompts" or "images".
        seeds: pictures of a prompt, on average.
        least: units that are needed.
        null: the value that stands for no change: a threshold, where one is asked about.
        extra: intervals that are shown beside the deciding ones.
    """

    question: Question
    names: tuple[str, ...]
    values: np.ndarray
    margin: float | None
    better: Literal[-1, 0, 1] = 1
    unit: str = "prompts"
    seeds: float = 1.0
    least: int = MIN_PROMPTS
    null: float = 0.0
    extra: tuple[Interval, ...] = ()

    @property
    def p(self) -> float:
        """Of the test, uncorrected; 1 where there are too few units to say."""
        if len(self.values) < self.least:
            return 1.0
        if self.values.shape[1] > 1:
            return hotelling(self.values)
        return estimate(self.values[:, 0], null=self.null).p


def missing(question: Question, note: str) -> Answer:
    """An answer that was not measured.

    Args:
        question: which.
        note: what would have to be supplied.
    Returns:
        The answer.
    """
    return Answer(question=question, reply="not measured", word="not measured", note=note)


def decide(findings: Sequence[Finding]) -> list[Answer]:
    """Answer a family of questions together.

    Args:
        findings: all that were measured in one comparison.
    Returns:
        One answer each, in order.
    """
    tested = [one for one in findings if len(one.values) >= one.least]
    corrected = dict(zip(map(id, tested), holm([one.p for one in tested]), strict=True))
    level = family_level(len(tested))
    return [_answer(one, corrected.get(id(one)), level) for one in findings]


def _answer(finding: Finding, p: float | None, level: float) -> Answer:
    found = [estimate(column, level=level) for column in finding.values.T]
    intervals = tuple(
        Interval(
            name=name, value=one.mean, low=one.low, high=one.high,
            limit=finding.margin if finding.null == 0 else finding.null,
            values=tuple(column.tolist()),
        )
        for name, one, column in zip(finding.names, found, finding.values.T, strict=True)
    )  # fmt: skip
    word, note = _word(finding, 1.0 if p is None else p)
    return Answer(
        question=finding.question,
        reply=REPLIES[finding.question].get(word, "undecided"),
        word=word,
        note=note,
        intervals=intervals + finding.extra,
        n=len(finding.values),
        unit=finding.unit,
        seeds=finding.seeds,
        p=p,
    )


def _word(finding: Finding, p: float) -> tuple[Word, str]:
    values, n = finding.values, len(finding.values)
    if n < finding.least:
        return "undecided", f"{n} {finding.unit}; {finding.least} are needed"
    if finding.margin and is_equivalent(values, margin=finding.margin):
        return "unchanged", ""
    if p < LEVEL:
        if finding.better == 0:
            return "moved", ""
        better = (float(values[:, 0].mean()) - finding.null) * finding.better > 0
        return ("better" if better else "worse"), ""
    needed = None
    if finding.margin:
        wanted = [prompts_needed(c, precision=finding.margin, level=0.9) for c in values.T]
        needed = None if None in wanted else max(n for n in wanted if n is not None)
    more = needed is not None and needed > n
    return "undecided", f"about {needed} {finding.unit} would tell" if more else ""


# What a word answers, by question: "did it lose diversity" is yes where it got worse.
_CHANGED: Mapping[Word, Reply] = {"moved": "yes", "unchanged": "no"}
REPLIES: Mapping[Question, Mapping[Word, Reply]] = {
    "learn": {"better": "yes", "unchanged": "no", "worse": "no"},
    "look like": {"better": "yes", "unchanged": "no", "worse": "no"},
    "follow": {"better": "yes", "unchanged": "yes", "worse": "no"},
    "leak": {"worse": "yes", "better": "no"},
    "diversity": {"worse": "yes", "unchanged": "no", "better": "no"},
    "colours": _CHANGED,
}


# ----------------------------------------------------------------------------- what is measured


def learning(train: Validated | None, held_out: Validated | None) -> Finding | Answer:
    """The stable loss of the images trained on, against the base's.

    Args:
        train: the last measurement on images trained on.
        held_out: on others; shown beside it.
    Returns:
        A finding, or why there is none.
    """
    if train is None:
        return missing("learn", "turn validation on: the stable loss was not measured")
    if not train.image_losses or len(train.image_losses) != len(train.base_image_losses):
        return missing("learn", "this run recorded no loss of each image; train it again to know")
    values = _relative(train)
    extra: tuple[Interval, ...] = ()
    if held_out is not None and len(held_out.image_losses) > 1:
        found = estimate(_relative(held_out))
        extra = (
            Interval(
                name="stable loss, held-out images", value=found.mean, low=found.low,
                high=found.high, values=tuple(_relative(held_out).tolist()),
            ),
        )  # fmt: skip
    return Finding(
        "learn",
        ("stable loss, training images",),
        values[:, None],
        LEARNED_MARGIN,
        better=-1,
        unit="images",
        least=MIN_IMAGES,
        extra=extra,
    )


def _relative(event: Validated) -> np.ndarray:
    base = np.asarray(event.base_image_losses)
    return (np.asarray(event.image_losses) - base) / base.mean()


@dataclass(frozen=True, slots=True)
class Judged:
    """Pictures as a judge sees them.

    Attributes:
        features: the judge.
        pairs: same prompt and seed, base and trained.
        known: pictures of the concept; empty without any.
        plain: takes the trigger out of a prompt, for a judge that does not know it.
    """

    features: Features
    pairs: Sequence[Pair]
    known: Sequence[Image.Image]
    plain: Callable[[str], str]

    def findings(self) -> list[Finding | Answer]:
        """Likeness, prompt following and diversity, or what is missing for each."""
        if not self.features.judges:
            return [missing(asked, SUPPLY) for asked in ("look like", "follow", "diversity")]
        if not self.pairs:
            return [
                missing(asked, "no pictures were drawn")
                for asked in ("look like", "follow", "diversity")
            ]
        base = self.features.pictures([pair.base for pair in self.pairs])
        trained = self.features.pictures([pair.trained for pair in self.pairs])
        prompts = [pair.prompt for pair in self.pairs]
        known = self.features.pictures(self.known) if len(self.known) else None
        margin = None if known is None else judge_margin(base, known)
        return [
            self._likeness(base, trained, prompts, known, margin),
            self._following(base, trained, prompts, margin),
            self._diversity(base, trained, prompts, margin),
        ]

    def _row(
        self, question: Question, name: str, prompts: Sequence[str], change: np.ndarray,
        margin: float | None,
    ) -> Finding:  # fmt: skip
        values = unit_means(prompts, change)[:, None]
        name = f"{name} ({self.features.name})"
        return Finding(question, (name,), values, margin, seeds=len(prompts) / len(values))

    def _likeness(
        self, base: np.ndarray, trained: np.ndarray, prompts: Sequence[str],
        known: np.ndarray | None, margin: float | None,
    ) -> Finding | Answer:  # fmt: skip
        if known is None:
            return missing("look like", "the pictures of the concept are not there")
        change = ((trained - base) @ known.T).mean(axis=1)
        return self._row("look like", LIKENESS, prompts, change, margin)

    def _following(
        self, base: np.ndarray, trained: np.ndarray, prompts: Sequence[str], margin: float | None
    ) -> Finding | Answer:
        if self.features.texts is None:
            return missing(
                "follow", f"{self.features.name} reads no prompts; a CLIP or SigLIP does"
            )
        plain = [self.plain(prompt) for prompt in prompts]
        if not any(plain):
            return missing("follow", "no prompt asks for more than the trigger")
        texts = self.features.texts(plain)
        return self._row("follow", MATCH, prompts, ((trained - base) * texts).sum(axis=1), margin)

    def _diversity(
        self, base: np.ndarray, trained: np.ndarray, prompts: Sequence[str], margin: float | None
    ) -> Finding | Answer:
        kept = [k for k, prompt in enumerate(prompts) if prompts.count(prompt) >= MIN_SEEDS]
        if not kept:
            return missing("diversity", f"{MIN_SEEDS} seeds of a prompt are needed")
        own = [prompts[k] for k in kept]
        change = spread(trained[kept], own) - spread(base[kept], own)
        return self._row("diversity", DIVERSITY, own, change, margin)


def judge_margin(base: np.ndarray, known: np.ndarray) -> float | None:
    """A change on a judge's scale that is too small to matter.

    Args:
        base: vectors of the base's pictures, (N, D).
        known: of the concept's, (M, D).
    Returns:
        A tenth of the way from the base's likeness to that among the concept's pictures; None where
        the base is as alike already, or there is one picture only.
    """
    count = len(known)
    if count < 2:
        return None
    among = ((known @ known.T).sum() - count) / (count * (count - 1))
    way = float(among - (base @ known.T).mean())
    return JUDGE_SHARE * way if way > 0 else None


def colours(pairs: Sequence[Pair]) -> Finding | Answer:
    """The mean colour, all three axes in one test.

    Args:
        pairs: best without the concept in the prompt, whose own colours would count.
    Returns:
        A finding, or why there is none.
    """
    if not pairs:
        return missing("colours", "no pictures were drawn")
    prompts = [pair.prompt for pair in pairs]
    values = unit_means(prompts, moves(pairs))
    seeds = len(prompts) / len(values)
    return Finding("colours", AXES, values, COLOUR_MARGIN, better=0, seeds=seeds)
