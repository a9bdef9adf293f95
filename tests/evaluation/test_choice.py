"""Which candidate is recommended, from numbers alone."""

import math

import pytest

from workbench.evaluation.choice import Score, advice, best_tradeoffs, recommended
from workbench.evaluation.statistics import Estimate
from workbench.plots.tradeoff import tradeoff


def score(name: str, likeness: float, following: float | None, *, half: float = 0.01, n: int = 8):
    def around(value: float) -> Estimate:
        return Estimate(value, value - half, value + half, 0.01, n)

    return Score(name, around(likeness), None if following is None else around(following))


EARLY, MIDDLE, LATE = (
    score("early", 0.1, 0.0),
    score("middle", 0.3, -0.01),
    score("late", 0.4, -0.2),
)
BEATEN = score("beaten", 0.05, -0.05)


def test_what_another_beats_in_both_is_no_trade_off() -> None:
    assert best_tradeoffs([EARLY, BEATEN, MIDDLE, LATE]) == [True, False, True, True]
    assert best_tradeoffs([EARLY, EARLY]) == [True, True]  # equal ones do not beat each other


@pytest.mark.parametrize(
    ("margin", "name"),
    [(0.02, "middle"), (0.3, "late"), (0.001, "early"), (None, "early")],
)
def test_the_most_alike_that_still_follows_the_prompt_is_taken(
    margin: float | None, name: str
) -> None:
    every = [EARLY, BEATEN, MIDDLE, LATE]
    assert every[recommended(every, margin=margin)].name == name


def test_where_none_follows_the_prompt_the_least_loss_is_taken() -> None:
    every = [LATE, score("worse", 0.5, -0.4)]
    assert every[recommended(every, margin=0.01)].name == "late"


def test_a_judge_that_reads_no_prompts_decides_by_likeness() -> None:
    every = [score("a", 0.1, None), score("b", 0.2, None)]
    assert recommended(every, margin=0.01) == 1
    assert "prompt following" not in " ".join(advice(every, 1))


def test_the_advice_says_what_is_won_and_lost() -> None:
    said = " ".join(advice([EARLY, MIDDLE, LATE], 1))
    assert said.startswith(
        "Take middle: likeness +0.300 (+0.290 to +0.310), prompt following -0.010"
    )
    assert "More alike is late (likeness +0.100, prompt following -0.190 against" in said
    assert "Closer to the prompt is early (likeness -0.200, prompt following +0.010 against" in said
    assert "say little" not in said


def test_chance_and_few_prompts_are_said() -> None:
    near = [score("a", 0.30, 0.0, half=0.05, n=3), score("b", 0.31, 0.0, half=0.05, n=3)]
    said = " ".join(advice(near, 1))
    assert "Within chance of its likeness: a." in said
    assert "3 prompts say little; choose on 8 or more." in said
    endless = [score("a", 0.3, 0.0, half=math.inf, n=1), score("b", 0.2, 0.0, half=math.inf, n=1)]
    assert "Within chance" not in " ".join(advice(endless, 0))


def test_the_plot_has_a_mark_for_each_candidate() -> None:
    every = [EARLY, BEATEN, MIDDLE, LATE]
    marks = sum(
        len(trace.x)
        for trace in tradeoff([one.spot for one in every]).data
        if "markers" in trace.mode
    )
    assert marks == 4
