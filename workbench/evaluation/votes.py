"""Blind votes counted: what they allow to say at any time, from one rater or several."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.evaluation.ballots import Ballot, Place, Shot, Slip
from workbench.evaluation.statistics import LEVEL, anytime_interval
from workbench.records.votes import Choice, Question, Sheet

MOST = 500  # more votes than this nobody gives: the shares are as good as equal


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far raters agree on the pairs that two or more of them voted on.

    Attributes:
        share: of all meetings of two votes on one pair, those that agree.
        by_chance: what raters who vote by lot, each choice as often as it came, would reach.
        raters: who shared a pair with another.
    """

    share: float
    by_chance: float
    raters: int

    @property
    def sentence(self) -> str:
        """In words."""
        return (
            f"{self.raters} raters; they agree in {self.share:.0%} of what two of them voted on, "
            f"where chance gives {self.by_chance:.0%}."
        )


@dataclass(frozen=True, slots=True)
class Tally:
    """How a vote went.

    Attributes:
        names: of the two sides.
        first: votes for the first side.
        second: votes for the second.
        equal: votes for neither; they do not say which is better, and are not in the share.
        open: pairs without a vote.
        question: which picture is better, or which one is spoilt.
        contests: questions that share the chance of a false alarm; each gets its part of it.
        agreement: of several raters.
    """

    names: tuple[str, str]
    first: int
    second: int
    equal: int = 0
    open: int = 0
    question: Question = "better"
    contests: int = 1
    agreement: Agreement | None = None

    @property
    def decided(self) -> int:
        """Votes for one of the two."""
        return self.first + self.second

    @property
    def share(self) -> float | None:
        """Share of the decided votes that went to the first side; None without any."""
        return self.first / self.decided if self.decided else None

    @property
    def level(self) -> float:
        """Probability that the interval never leaves out the truth."""
        return 1 - LEVEL / self.contests

    @property
    def interval(self) -> tuple[float, float]:
        """Where that share lies, valid however often one looks while votes come in."""
        return anytime_interval(self.first, self.decided, level=self.level)

    @property
    def winner(self) -> str | None:
        """The side that was chosen more often than chance explains; None while it is open."""
        low, high = self.interval
        return self.names[0] if low > 0.5 else self.names[1] if high < 0.5 else None

    @property
    def sentence(self) -> str:
        """The count, its interval, and what may be concluded from it."""
        if not self.decided:
            return f"No vote for either of {self.names[0]} and {self.names[1]} yet."
        turned = self.second > self.first
        ahead, behind = self.names[::-1] if turned else self.names
        low, high = self.interval
        low, high = (1 - high, 1 - low) if turned else (low, high)
        count = max(self.first, self.second)
        verb = "won" if self.question == "better" else "was called spoilt in"
        said = (
            f"{ahead} {verb} {count} of {self.decided} votes against {behind} (share "
            f"{count / self.decided:.0%}, {100 * self.level:g}% interval {low:.0%} to {high:.0%})"
        )
        several = "pairs were" if self.equal > 1 else "pair was"
        aside = f" {self.equal} {several} called equal and not counted." * bool(self.equal)
        if self.winner is None:
            return f"{said}: that could be chance.{aside}{_more(self)}"
        settled = "is preferred" if self.question == "better" else "is spoilt more often"
        return f"{said}: {ahead} {settled}, for these prompts.{aside}"


def tally(
    found: Sequence[Ballot | Slip],
    places: Sequence[Place | None],
    *,
    names: tuple[str, str],
    question: Question = "better",
) -> Tally:
    """Count the votes of one rater.

    Args:
        found: what was voted on.
        places: one for each, in their order; None has not been voted on.
        names: of the two sides.
        question: what was asked.
    Returns:
        The count.
    Raises:
        ValueError: there are not as many votes as pairs, or one is none of the three.
    """
    if len(places) != len(found):
        raise ValueError(
            f"a vote needs one choice for each of the {len(found)} pairs, got {len(places)}; "
            "None stands for a pair that was not voted on"
        )
    count: Counter[str] = Counter()
    for one, place in zip(found, places, strict=True):
        slip = one.slip if isinstance(one, Ballot) else one
        count["open" if place is None else slip.meant(place)] += 1
    first, second, equal = (count[choice] for choice in ("first", "second", "equal"))
    return Tally(names, first, second, equal, count["open"], question)


def counted(sheets: Sequence[Sheet], *, contests: int = 1) -> Tally:
    """Count the votes of several raters in one contest: one vote a pair, by majority.

    Args:
        sheets: of one question and two sides, in order; at least one.
        contests: questions that share the chance of a false alarm.
    Returns:
        The count. A side has a pair with more than half of its votes; otherwise it is equal.
    """
    votes: dict[Shot, list[Choice]] = {}
    for sheet in sheets:
        for one in sheet.votes:
            votes.setdefault((one.prompt, one.seed), []).append(one.choice)
    count = Counter(_majority(given) for given in votes.values())
    return Tally(
        sheets[0].sides,
        count["first"],
        count["second"],
        count["equal"],
        question=sheets[0].question,
        contests=contests,
        agreement=agreement(sheets),
    )


def tallies(sheets: Sequence[Sheet]) -> tuple[Tally, ...]:
    """Count all contests of a run; they share the chance of a false alarm.

    Args:
        sheets: of a run, sides in order.
    Returns:
        One count a question and two sides.
    """
    contests: dict[tuple[str, tuple[str, str]], list[Sheet]] = {}
    for sheet in sheets:
        contests.setdefault((sheet.question, sheet.sides), []).append(sheet)
    return tuple(counted(part, contests=len(contests)) for part in contests.values())


def agreement(sheets: Sequence[Sheet]) -> Agreement | None:
    """Say how far raters agree.

    Args:
        sheets: of one contest.
    Returns:
        Observed and expected agreement; None where no pair has two votes.
    Source: Krippendorff's alpha for nominal data is 1 - (1 - share) / (1 - by_chance); Hayes and
        Krippendorff 2007, doi 10.1080/19312450709336664.
    """
    units: dict[Shot, list[tuple[str, Choice]]] = {}
    for sheet in sheets:
        for one in sheet.votes:
            units.setdefault((one.prompt, one.seed), []).append((sheet.rater, one.choice))
    shared = [unit for unit in units.values() if len(unit) > 1]
    if not shared:
        return None
    total = sum(map(len, shared))
    every = Counter(choice for unit in shared for _, choice in unit)
    agreeing = sum(
        _same(Counter(choice for _, choice in unit)) / (len(unit) - 1) for unit in shared
    )
    raters = {rater for unit in shared for rater, _ in unit}
    return Agreement(agreeing / total, _same(every) / (total * (total - 1)), len(raters))


def votes_needed(share: float, *, level: float = 1 - LEVEL) -> int | None:
    """Say how many votes would settle which side is preferred, if their share stays what it is.

    Args:
        share: of the votes for one side, in [0, 1].
        level: of the interval.
    Returns:
        Decided votes; None where more than 500 are needed.
    """
    for votes in range(1, MOST + 1):
        low, high = anytime_interval(round(share * votes), votes, level=level)
        if low > 0.5 or high < 0.5:
            return votes
    return None


def _same(count: Mapping[str, int]) -> int:
    """Ordered pairs of equal votes."""
    return sum(n * (n - 1) for n in count.values())


def _majority(given: Sequence[Choice]) -> Choice:
    if 2 * given.count("first") > len(given):
        return "first"
    return "second" if 2 * given.count("second") > len(given) else "equal"


def _more(count: Tally) -> str:
    assert count.share is not None
    needed = votes_needed(count.share, level=count.level)
    if needed is None:
        return " The two are as good as equal: even 500 votes of this share would not settle it."
    if needed <= count.decided:  # rounding: a share just below what this many votes would need
        needed = count.decided + 1
    return f" If the share stays, about {needed} votes will settle it."
