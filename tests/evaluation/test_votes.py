"""Blind votes: the secret is kept and counted right, and the interval is Wilson's."""

import random

import pytest
from PIL import Image
from scipy import stats

from workbench.evaluation.results import Comparison, Pair
from workbench.evaluation.votes import Tally, ballots, tally, votes_needed, wilson

BASE, TRAINED = (Image.new("RGB", (2, 2), colour) for colour in ("white", "black"))


def pairs(count: int) -> list[Pair]:
    return [Pair(f"prompt {k}", k, BASE, TRAINED) for k in range(count)]


def test_the_interval_agrees_with_scipy() -> None:
    for votes in (1, 2, 7, 20, 111):
        for wins in range(0, votes + 1, 3):
            for confidence in (0.5, 0.9, 0.95, 0.99):
                known = stats.binomtest(wins, votes).proportion_ci(confidence, method="wilson")
                found = wilson(wins, votes, confidence=confidence)
                assert found == pytest.approx((known.low, known.high), abs=1e-9)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    lots = random.Random(0)
    held = 0
    for _ in range(4000):
        low, high = wilson(sum(lots.random() < 0.6 for _ in range(20)), 20)
        held += low <= 0.6 <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.025)


def test_without_votes_everything_is_possible_and_impossible_counts_are_refused() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and votes = 3, got 4"):
        wilson(4, 3)


def test_sides_and_order_are_drawn_by_lot_and_repeat_with_the_seed() -> None:
    found = ballots(pairs(400), seed=1)
    assert sum(ballot.trained_is_left for ballot in found) == pytest.approx(200, abs=40)
    assert [b.pair.seed for b in found] != list(range(400))
    assert sorted(b.pair.seed for b in found) == list(range(400))
    assert found == ballots(pairs(400), seed=1)
    assert found != ballots(pairs(400), seed=2)
    for ballot in found[:20]:
        assert {id(ballot.left), id(ballot.right)} == {id(BASE), id(TRAINED)}
        assert (ballot.left is TRAINED) == ballot.trained_is_left


def test_a_comparison_gives_its_pairs_none_twice() -> None:
    found = ballots(Comparison(tuple(pairs(8))), count=5)
    assert len({b.prompt for b in found}) == 5
    assert len(ballots(pairs(3), count=20)) == 3


def test_votes_are_counted_for_whom_they_were_meant() -> None:
    found = ballots(pairs(40))
    trained = ["left" if ballot.trained_is_left else "right" for ballot in found]
    assert tally(found, trained) == Tally(trained=40, base=0)
    base = ["right" if ballot.trained_is_left else "left" for ballot in found]
    assert tally(found, base) == Tally(trained=0, base=40)
    assert tally(found, [*trained[:10], *base[10:14], *["equal"] * 6, *[None] * 20]) == Tally(
        trained=10, base=4, equal=6, open=20
    )


def test_choices_that_make_no_sense_are_refused() -> None:
    found = ballots(pairs(2))
    with pytest.raises(ValueError, match="each of the 2 pairs, got 1"):
        tally(found, ["left"])
    with pytest.raises(ValueError, match="got 'trained'"):
        tally(found, ["left", "trained"])  # type: ignore[list-item]


def test_the_sentence_claims_no_more_than_the_interval_allows() -> None:
    assert Tally(15, 5).winner == "trained"
    assert "75%; 95 % interval 53% to 89%): what was trained is preferred" in Tally(15, 5).sentence
    assert Tally(5, 15).winner == "base"
    assert "the base is preferred" in Tally(5, 15).sentence
    close = Tally(12, 8, equal=3)
    assert close.winner is None
    assert "could be chance" in close.sentence and "3 found both equal" in close.sentence
    assert f"about {votes_needed(0.6)} votes" in close.sentence
    assert "as good as equal" in Tally(10, 10).sentence
    assert "No vote" in Tally(0, 0, equal=2).sentence and Tally(0, 0).share is None


def test_few_votes_decide_nothing() -> None:
    assert wilson(5, 5)[0] > 0.5
    assert Tally(5, 0).winner is None
    assert Tally(6, 0).winner == "trained"


def test_the_votes_that_settle_it_do_and_one_less_does_not() -> None:
    def settled(votes: int, share: float) -> bool:
        wins = round(share * votes)
        return Tally(wins, votes - wins).winner is not None

    for share in (0.0, 0.6, 0.75, 1.0):
        needed = votes_needed(share)
        assert needed is not None
        assert settled(needed, share) and not settled(needed - 1, share)
    assert votes_needed(1.0) == 6
    assert votes_needed(0.5) is None
