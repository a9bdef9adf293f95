"""What is voted on: sides and order by lot, every prompt once first, and nothing given away."""

import pytest
from PIL import Image

from workbench.evaluation.ballots import Slip, ballots, blind_prompts, slips
from workbench.evaluation.loading import Wanted
from workbench.evaluation.results import Pair
from workbench.settings import SettingsError

FIRST, SECOND = (Image.new("RGB", (2, 2), colour) for colour in ("white", "black"))
PROMPTS = ("mochi, critter, smile", "mochi, critter, frown", "critter, hills")
RUN = Wanted(PROMPTS, trigger="mochi", class_word="critter")


def test_sides_and_order_are_drawn_by_lot_and_repeat_with_the_seed() -> None:
    shots = [(f"prompt {k}", 0) for k in range(400)]
    found = slips(shots, seed=1)
    assert sum(slip.first_is_left for slip in found) == pytest.approx(200, abs=40)
    assert [(s.prompt, s.seed) for s in found] != shots
    assert sorted((s.prompt, s.seed) for s in found) == sorted(shots)
    assert found == slips(shots, seed=1) != slips(shots, seed=2)


def test_one_seed_of_every_prompt_comes_first_and_no_pair_twice() -> None:
    shots = [(prompt, seed) for prompt in "abcde" for seed in (7, 8, 9)]
    found = slips([*shots, *shots])
    assert len(found) == 15
    for start in (0, 5, 10):
        part = found[start : start + 5]
        assert sorted(slip.prompt for slip in part) == list("abcde")
        assert {slip.seed for slip in part} == {7 + start // 5}


def test_pictures_stand_where_the_lot_says() -> None:
    found = ballots([Pair(f"p {k}", 0, FIRST, SECOND) for k in range(20)])
    assert {one.slip.first_is_left for one in found} == {True, False}
    for one in found:
        assert (one.left is FIRST) == one.slip.first_is_left
        assert {id(one.left), id(one.right)} == {id(FIRST), id(SECOND)}


def test_a_vote_goes_to_the_side_that_stood_there() -> None:
    assert [Slip("p", 0, True).meant(x) for x in ("left", "right", "equal")] == [
        "first", "second", "equal",
    ]  # fmt: skip
    assert Slip("p", 0, False).meant("left") == "second"


def test_against_the_base_no_prompt_holds_the_trigger() -> None:
    assert blind_prompts(RUN, against_base=False) == PROMPTS
    assert blind_prompts(RUN, against_base=True) == (
        "critter, smile", "critter, frown", "critter, hills",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(), "a vote needs prompts"),
        (Wanted(("a",)), "has no trigger"),
        (Wanted(("mochi",), trigger="mochi"), "no prompt says more than the trigger 'mochi'"),
    ],
)
def test_where_a_vote_cannot_be_blind_it_says_why(wanted: Wanted, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        blind_prompts(wanted, against_base=True)
