"""Blind votes: which picture is better, with the sides hidden, and how sure the count makes one.

A voter who knows which picture is whose finds the trained one better. So each pair is shown with
its sides drawn by lot, and the count is given with the interval that chance leaves.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from PIL import Image

from workbench.evaluation.results import Comparison, Pair

Choice = Literal["left", "right", "equal"]
FEWEST = 6  # five equal votes come about by chance in one of sixteen cases, six in one of 32
ENOUGH = 500  # more votes than this nobody gives: the shares are as good as equal


@dataclass(frozen=True, slots=True)
class Ballot:
    """One pair with its sides hidden.

    Attributes:
        pair: base and trained picture of one prompt and seed.
        trained_is_left: the secret.
    """

    pair: Pair
    trained_is_left: bool

    @property
    def prompt(self) -> str:
        """What was asked for: the vote is on which picture follows it better."""
        return self.pair.prompt

    @property
    def left(self) -> Image.Image:
        """The picture on the left."""
        return self.pair.trained if self.trained_is_left else self.pair.base

    @property
    def right(self) -> Image.Image:
        """The picture on the right."""
        return self.pair.base if self.trained_is_left else self.pair.trained


@dataclass(frozen=True, slots=True)
class Tally:
    """How a vote went.

    Attributes:
        trained: votes for what was trained.
        base: votes for the base.
        equal: votes for neither; they say nothing of which is better and are not in the share.
        open: pairs without a vote.
    """

    trained: int
    base: int
    equal: int = 0
    open: int = 0

    @property
    def decided(self) -> int:
        """Votes for one of the two."""
        return self.trained + self.base

    @property
    def share(self) -> float | None:
        """Share of the decided votes that went to what was trained; None without any."""
        return self.trained / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float]:
        """Where that share lies with a confidence of 95 %."""
        return wilson(self.trained, self.decided)

    @property
    def winner(self) -> Literal["trained", "base"] | None:
        """The one that chance does not explain; None for few votes, or an interval over 50 %."""
        low, high = self.interval
        if self.decided < FEWEST:
            return None
        return "trained" if low > 0.5 else "base" if high < 0.5 else None

    @property
    def sentence(self) -> str:
        """The count, its interval, and what may be concluded from it."""
        if self.share is None:
            return "No vote for either picture yet."
        low, high = self.interval
        said = (
            f"The trained picture won {self.trained} of {self.decided} votes ({self.share:.0%}; "
            f"95 % interval {low:.0%} to {high:.0%})"
        )
        aside = f" {self.equal} found both equal and are not counted." if self.equal else ""
        if self.winner is None:
            return f"{said}: that could be chance.{aside}{_more(self)}"
        name = {"trained": "what was trained", "base": "the base"}[self.winner]
        return f"{said}: {name} is preferred.{aside}"


def wilson(wins: int, votes: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Say between which shares the truth lies, given a count.

    Args:
        wins: votes for one side, 0 to `votes`.
        votes: all votes; with none everything is possible.
        confidence: how often such an interval holds the truth, in (0, 1).
    Returns:
        Lower and upper end, in [0, 1].
    Raises:
        ValueError: the counts are impossible.
    Source: Wilson 1927, doi 10.1080/01621459.1927.10502953; it holds for few votes and for shares
        of 0 and 1, where the usual formula gives an interval of width 0.
    """
    if not 0 <= wins <= votes:
        raise ValueError(f"wins must lie between 0 and votes = {votes}, got {wins}")
    if votes == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = wins / votes
    centre = share + z * z / (2 * votes)
    half = z * math.sqrt(share * (1 - share) / votes + (z / (2 * votes)) ** 2)
    scale = 1 + z * z / votes
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def ballots(
    source: Comparison | Sequence[Pair], *, seed: int = 0, count: int | None = None
) -> tuple[Ballot, ...]:
    """Hide which picture is whose.

    Args:
        source: a comparison, or pairs of pictures.
        seed: of the lots; the same pairs and seed give the same ballots.
        count: at most so many, drawn by lot; None takes all. No pair comes twice: a second vote on
            the same pictures is no second observation.
    Returns:
        The ballots, in an order drawn by lot.
    """
    pairs = list(source.pairs if isinstance(source, Comparison) else source)
    lots = random.Random(f"blind vote {seed}")
    drawn = lots.sample(pairs, len(pairs))
    return tuple(Ballot(pair, lots.random() < 0.5) for pair in drawn[:count])


def tally(found: Sequence[Ballot], choices: Sequence[Choice | None]) -> Tally:
    """Count votes.

    Args:
        found: the ballots.
        choices: one for each ballot, in their order; None has not been voted on.
    Returns:
        The count.
    Raises:
        ValueError: there are not as many choices as ballots, or a choice is none of the three.
    """
    if len(choices) != len(found):
        raise ValueError(
            f"a vote needs one choice for each of the {len(found)} pairs, got {len(choices)}; "
            "None stands for a pair that was not voted on"
        )
    count = {"trained": 0, "base": 0, "equal": 0, "open": 0}
    for ballot, choice in zip(found, choices, strict=True):
        count[_meant(ballot, choice)] += 1
    return Tally(**count)


def votes_needed(share: float) -> int | None:
    """Say how many votes would settle which side is preferred, if their share stays what it is.

    Args:
        share: of the votes for one side, in [0, 1].
    Returns:
        Decided votes; None where more than 500 are needed.
    """
    for votes in range(FEWEST, ENOUGH + 1):
        low, high = wilson(round(share * votes), votes)
        if low > 0.5 or high < 0.5:
            return votes
    return None


def _meant(ballot: Ballot, choice: Choice | None) -> str:
    if choice is None:
        return "open"
    if choice == "equal":
        return "equal"
    if choice not in ("left", "right"):
        raise ValueError(f"a choice must be left, right, equal or None, got {choice!r}")
    return "trained" if (choice == "left") == ballot.trained_is_left else "base"


def _more(count: Tally) -> str:
    assert count.share is not None
    needed = votes_needed(count.share)
    if needed is None:
        return " The two are as good as equal: even 500 votes of this share would not settle it."
    if needed <= count.decided:  # rounding: a share just below what this many votes would need
        needed = count.decided + 1
    return f" If the share stays, about {needed} votes will settle it."
