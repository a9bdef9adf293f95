"""Blind votes: counted for whom they were meant, and never surer than the count allows."""

import random

import pytest
from PIL import Image

from workbench.evaluation.ballots import ballots
from workbench.evaluation.results import Pair
from workbench.evaluation.votes import Agreement, Tally, agreement, tallies, tally, votes_needed
from workbench.records.votes import Sheet, Vote

BASE, TRAINED = (Image.new("RGB", (2, 2), colour) for colour in ("white", "black"))
NAMES = ("early", "late")


def pairs(count: int) -> list[Pair]:
    return [Pair(f"prompt {k}", k, BASE, TRAINED) for k in range(count)]


def sheet(rater: str, letters: str, *, sides=NAMES, question="better") -> Sheet:
    """f, s and e in the order of the pairs; a dot has not been voted on."""
    choices = {"f": "first", "s": "second", "e": "equal"}
    votes = [
        Vote(prompt=f"prompt {k}", seed=0, choice=choices[letter])  # type: ignore[arg-type]
        for k, letter in enumerate(letters)
        if letter != "."
    ]
    return Sheet(rater=rater, question=question, sides=sides, votes=tuple(votes))


def test_votes_are_counted_for_whom_they_were_meant() -> None:
    found = ballots(pairs(40))
    first = ["left" if one.slip.first_is_left else "right" for one in found]
    assert tally(found, first, names=NAMES) == Tally(NAMES, 40, 0)
    second = ["right" if one.slip.first_is_left else "left" for one in found]
    assert tally(found, second, names=NAMES) == Tally(NAMES, 0, 40)
    mixed = [*first[:10], *second[10:14], *["equal"] * 6, *[None] * 20]
    assert tally(found, mixed, names=NAMES) == Tally(NAMES, 10, 4, equal=6, open=20)


def test_choices_that_make_no_sense_are_refused() -> None:
    found = ballots(pairs(2))
    with pytest.raises(ValueError, match="each of the 2 pairs, got 1"):
        tally(found, ["left"], names=NAMES)
    with pytest.raises(ValueError, match="got 'trained'"):
        tally(found, ["left", "trained"], names=NAMES)  # type: ignore[list-item]


def test_eight_straight_votes_decide_and_with_two_questions_nine() -> None:
    """2^n / (n + 1) reaches 20 at n = 8, and 40 at n = 9: the mixture in closed form."""
    assert [2**n / (n + 1) >= 20 for n in (7, 8)] == [False, True]
    assert [2**n / (n + 1) >= 40 for n in (8, 9)] == [False, True]
    assert [Tally(NAMES, n, 0).winner for n in (7, 8)] == [None, "early"]
    assert [Tally(NAMES, 0, n).winner for n in (7, 8)] == [None, "late"]
    assert [Tally(NAMES, n, 0, contests=2).winner for n in (8, 9)] == [None, "early"]
    assert votes_needed(1.0) == 8 and votes_needed(1.0, level=0.975) == 9


def test_a_fair_coin_looked_at_after_each_of_100_votes_is_called_in_five_of_a_hundred() -> None:
    """And in a third of all cases by an interval that is meant for one look (docs/study.md)."""
    lots, ours, one_look = random.Random(0), 0, 0
    decides = {
        (n, k): (Tally(NAMES, k, n - k).winner is not None, _wilson_decides(k, n))
        for n in range(1, 101)
        for k in range(n + 1)
    }
    for _ in range(1000):
        first, seen = 0, []
        for votes in range(1, 101):
            first += lots.random() < 0.5
            seen.append(decides[votes, first])
        ours += any(one for one, _ in seen)
        one_look += any(other for _, other in seen[5:])
    assert ours / 1000 == pytest.approx(0.025, abs=0.015)
    assert one_look / 1000 == pytest.approx(0.31, abs=0.04)


def _wilson_decides(wins: int, votes: int) -> bool:
    """Whether (k - n / 2)^2 > z^2 n / 4: Wilson's interval leaves out one half."""
    return (wins - votes / 2) ** 2 > 1.959964**2 * votes / 4


def test_the_sentence_names_the_sides_and_claims_no_more_than_the_interval() -> None:
    won = Tally(NAMES, 17, 3)
    assert won.winner == "early"
    assert won.sentence == (
        "early won 17 of 20 votes against late (share 85%, 95% interval 53% to 99%): early is "
        "preferred, for these prompts."
    )
    assert Tally(NAMES, 3, 17).sentence.startswith("late won 17 of 20 votes against early")
    close = Tally(NAMES, 12, 8, equal=3)
    assert close.winner is None
    assert "could be chance" in close.sentence and "3 pairs were called equal" in close.sentence
    assert f"about {votes_needed(0.6)} votes" in close.sentence
    assert "as good as equal" in Tally(NAMES, 10, 10).sentence
    assert Tally(NAMES, 0, 0, equal=2).sentence == "No vote for either of early and late yet."
    spoilt = Tally(("base", "mochi"), 0, 8, question="spoilt")
    assert "mochi was called spoilt in 8 of 8 votes against base" in spoilt.sentence
    assert "mochi is spoilt more often" in spoilt.sentence


def test_the_votes_that_settle_it_do_and_one_less_does_not() -> None:
    def settled(votes: int, share: float) -> bool:
        first = round(share * votes)
        return Tally(NAMES, first, votes - first).winner is not None

    for share in (0.0, 0.65, 0.75, 1.0):
        needed = votes_needed(share)
        assert needed is not None
        assert settled(needed, share) and not settled(needed - 1, share)
    assert votes_needed(0.5) is None


def test_several_raters_have_one_vote_a_pair_by_majority() -> None:
    [found] = tallies([sheet("a", "ffse"), sheet("b", "fsse"), sheet("c", "feef")])
    assert (found.first, found.second, found.equal) == (1, 1, 2)  # fff, fse, sse, eef
    assert found.names == NAMES and found.agreement is not None


def test_agreement_and_what_chance_would_give() -> None:
    """Two raters, two choices: the textbook's table, counted by hand.

    Pairs: ff, ff, ss, fs. Meetings: 3 of 4 agree. Votes: 5 f, 3 s of 8, so chance gives
    (5 * 4 + 3 * 2) / (8 * 7) = 26 / 56.
    """
    found = agreement([sheet("a", "ffsf."), sheet("b", "ffss.")])
    assert found is not None
    assert found == Agreement(0.75, pytest.approx(26 / 56), 2)  # type: ignore[arg-type]
    assert found.sentence.startswith("2 raters; they agree in 75%")
    assert agreement([sheet("a", "ff.."), sheet("b", "..ss")]) is None


def test_contests_of_a_run_share_the_chance_of_a_false_alarm() -> None:
    other = sheet("a", "f" * 8, sides=("base", "mochi"), question="spoilt")
    alone = tallies([sheet("a", "f" * 8)])
    both = tallies([sheet("a", "f" * 8), other])
    assert [one.winner for one in alone] == ["early"]
    assert [one.winner for one in both] == [None, None]
    assert [one.level for one in both] == [0.975, 0.975]
