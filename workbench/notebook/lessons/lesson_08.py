"""Lesson 08: did it work? A blind vote, and what a count is worth."""

from collections.abc import Mapping
from typing import Any

from workbench.evaluation.votes import wilson
from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

COUNTS = {"13 of 20": (13, 20), "65 of 100": (65, 100), "4 of 20": (4, 20)}
READINGS = ("better", "worse", "open")
MAX_EQUAL = 0.5  # who finds most pairs equal has not looked


def _letters(answer: Any, facts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, str):
        return f"{type(answer).__name__}"
    strange = sorted(set(answer) - set("lre"))
    return f"{', '.join(map(repr, strange))}" if strange else None


def _every_pair(answer: str, facts: Mapping[str, Any]) -> str | None:
    wanted = facts["num_pairs"]
    return None if len(answer) == wanted else f"{len(answer)} letters for {wanted} pairs"


def _decided(answer: str, facts: Mapping[str, Any]) -> str | None:
    equal = answer.count("e")
    return None if equal <= MAX_EQUAL * len(answer) else f"{equal} of {len(answer)} are equal"


def _both_sides(answer: str, facts: Mapping[str, Any]) -> str | None:
    """Sides are drawn by lot: nobody who looks finds 12 or more on the same one."""
    one_sided = len(answer) >= 12 and len(set(answer) - {"e"}) < 2
    return "always the same side" if one_sided else None


def _readings(answer: Any, facts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, Mapping) or set(answer) != set(COUNTS):
        return f"{answer!r}"
    strange = [word for word in answer.values() if word not in READINGS]
    return f"{strange[0]!r} is none of {', '.join(READINGS)}" if strange else None


def _reading(count: str, answer: Mapping[str, str]) -> str | None:
    low, high = wilson(*COUNTS[count])
    wanted = "better" if low > 0.5 else "worse" if high < 0.5 else "open"
    return None if answer[count] == wanted else f"{answer[count]!r}"


def _few_votes(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _reading("13 of 20", answer)


def _many_votes(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _reading("65 of 100", answer)


def _lost_votes(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _reading("4 of 20", answer)


VOTE = Exercise(
    name="08.vote",
    question="Which picture of each pair is better?",
    properties=(
        Property("it is a word of l, r and e", _letters, 'for example "lrrel": no spaces'),
        Property("there is a letter for each pair", _every_pair, "the pairs are numbered"),
        Property(
            "most pairs are decided",
            _decided,
            "look closer: is the trigger's creature there, is what the prompt asks for there?",
        ),
        Property(
            "both sides were chosen at times",
            _both_sides,
            "sides were drawn by lot, so no picture is always on the same one",
        ),
    ),
)

INTERVAL = Exercise(
    name="08.interval",
    question="What may be concluded from three counts?",
    properties=(
        Property(
            "each count has one of the three words",
            _readings,
            'a dict: {"13 of 20": "open", ...}',
        ),
        Property(
            "13 of 20 is read right",
            _few_votes,
            "move the sliders to 65 % of 20: is one half inside the interval?",
        ),
        Property(
            "65 of 100 is read right",
            _many_votes,
            "the same share, five times the votes: the interval is less than half as wide",
        ),
        Property(
            "4 of 20 is read right",
            _lost_votes,
            "seen from the other side it is 16 of 20",
        ),
    ),
)

LESSON = Lesson(
    number="08",
    title="Did it work?",
    file="08_did_it_work.ipynb",
    cells={
        "run": "# Train",
        "wb": "# Train",
        "comparison": "# Slide",
        "recipe": "# Train",
        "hidden": "# Twenty pairs",
        "votes": "# Your votes",
        "wilson": "# What you voted for",
        "reading": "# Your reading",
    },
    exercises=(VOTE, INTERVAL),
)
