"""Likeness against prompt following: which candidate to take, and what that wins and loses."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.evaluation.results import Comparison, Strip
from workbench.evaluation.statistics import MIN_PROMPTS, Estimate
from workbench.plots.tradeoff import Kind, Spot
from workbench.records.judgement import Judgement


@dataclass(frozen=True, slots=True)
class Score:
    """How one candidate did on the prompts of the choice, as changes against the base.

    Attributes:
        name: of the candidate.
        likeness: to the training pictures, over prompts.
        following: of the prompt; None where the judge reads none.
        kind: recommended, among the best trade-offs, beaten in both, or a base.
    """

    name: str
    likeness: Estimate
    following: Estimate | None
    kind: Kind = "other"

    @property
    def spot(self) -> Spot:
        """As the plot shows it."""
        alike, follows = self.likeness, self.following or Estimate(0, 0, 0, 1, 0)
        return Spot(
            self.name,
            (alike.mean, alike.low, alike.high),
            (follows.mean, follows.low, follows.high),
            self.kind,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what it is worth.

    Attributes:
        scores: of all candidates, and of the base that was told what the concept is.
        chosen: name of the recommended one.
        path: its file, or the run folder for weights without their moving average.
        strength: at which it is recommended.
        said: the recommendation in words, what is won and lost, and what the confirmation says.
        confirmed: the six answers, from other prompts and seeds.
        comparison: the pictures of the confirmation.
        strips: some prompts of the choice, drawn by all.
        num_pictures: looked at in all.
        seconds: all that it took.
    """

    scores: tuple[Score, ...]
    chosen: str
    path: Path
    strength: float
    said: tuple[str, ...]
    confirmed: Judgement
    comparison: Comparison
    strips: tuple[Strip, ...] = ()
    num_pictures: int = 0
    seconds: float = 0.0

    @property
    def recommendation(self) -> str:
        """All that is said, as one text."""
        return " ".join(self.said)

    def _repr_html_(self) -> str:
        from workbench.evaluation import choice_page, page

        return page.framed(page.render(choice_page.report(self, name="")))


def best_tradeoffs(scores: Sequence[Score]) -> list[bool]:
    """Find the candidates that no other beats in both.

    Args:
        scores: of all candidates.
    Returns:
        For each, whether none is at least as good in both and better in one.
    """
    points = [(one.likeness.mean, one.following.mean if one.following else 0) for one in scores]
    return [
        not any(
            other[0] >= own[0] and other[1] >= own[1] and other != own for other in points
        )
        for own in points
    ]  # fmt: skip


def recommended(scores: Sequence[Score], *, margin: float | None) -> int:
    """Say which candidate to take.

    Args:
        scores: of all candidates.
        margin: a loss of prompt following that does not matter; None where none can be stated.
    Returns:
        Of the best trade-offs the most alike whose prompt following is within the margin of the
        base's; where none is, the one that loses least.
    """
    front = [k for k, best in enumerate(best_tradeoffs(scores)) if best]
    if scores[0].following is None:
        return max(front, key=lambda k: scores[k].likeness.mean)
    follows = {k: one.following.mean for k, one in enumerate(scores) if one.following}
    kept = [k for k in front if follows[k] >= -(margin or 0.0)]
    if kept:
        return max(kept, key=lambda k: scores[k].likeness.mean)
    return max(front, key=lambda k: follows[k])


def advice(scores: Sequence[Score], chosen: int) -> list[str]:
    """Say in words which to take, and what is won and lost against the others.

    Args:
        scores: of all candidates.
        chosen: which is recommended.
    Returns:
        One to four sentences.
    """
    own = scores[chosen]
    said = [f"Take {own.name}: {_changes(own)} against the base."]
    alike = max(scores, key=lambda one: one.likeness.mean)
    if alike is not own:
        said.append(f"More alike is {alike.name} ({_difference(alike, own)}).")
    if own.following is not None:
        follows = max(scores, key=lambda one: one.following.mean if one.following else 0)
        if follows not in (own, alike):
            said.append(f"Closer to the prompt is {follows.name} ({_difference(follows, own)}).")
    near = [
        one.name
        for one in scores
        if one is not own and abs(one.likeness.mean - own.likeness.mean) < _half(own)
    ]
    if near:
        said.append(f"Within chance of its likeness: {', '.join(near)}.")
    if own.likeness.n < MIN_PROMPTS:
        said.append(f"{own.likeness.n} prompts say little; choose on {MIN_PROMPTS} or more.")
    return said


def _half(score: Score) -> float:
    half = score.likeness.half
    return half if np.isfinite(half) else 0.0


def _changes(score: Score) -> str:
    told = [f"likeness {_with_interval(score.likeness)}"]
    if score.following is not None:
        told.append(f"prompt following {_with_interval(score.following)}")
    return ", ".join(told)


def _with_interval(one: Estimate) -> str:
    return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _difference(other: Score, own: Score) -> str:
    told = [f"likeness {other.likeness.mean - own.likeness.mean:+.3f}"]
    if other.following is not None and own.following is not None:
        told.append(f"prompt following {other.following.mean - own.following.mean:+.3f}")
    return ", ".join(told) + " against the recommended one"
