"""Lesson 08: did it work? A blind vote, and what a count is worth."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import ImageFilter

from workbench.evaluation.ballots import Ballot, Slip
from workbench.evaluation.statistics import anytime_interval
from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

COUNTS = {"14 of 20": (14, 20), "70 of 100": (70, 100), "3 of 20": (3, 20)}
READINGS = ("better", "worse", "open")
MAX_EQUAL = 0.5  # who finds most pairs equal has not looked
NUM_CONTROLS = 4
_BLUR = 16  # of a picture's side, as a share of it; nobody prefers the result


def with_controls(
    hidden: Sequence[Ballot], *, seed: int = 0
) -> tuple[tuple[Ballot, ...], dict[int, str]]:
    """Mix in pairs whose better picture is known: the other one is the same picture, blurred.

    Args:
        hidden: the pairs of a vote.
        seed: of the lots.
    Returns:
        All pairs, in a new order; the place of each control among them, to the right letter.
    """
    lots = random.Random(f"controls {seed}")
    mixed: list[tuple[Ballot, bool]] = [(one, False) for one in hidden]
    for one in lots.sample(list(hidden), min(NUM_CONTROLS, len(hidden))):
        sharp = one.second
        blurred = sharp.filter(ImageFilter.GaussianBlur(max(sharp.size) / _BLUR))
        slip = Slip(one.prompt, one.slip.seed, first_is_left=lots.random() < 0.5)
        mixed.append((Ballot(slip, blurred, sharp), True))
    lots.shuffle(mixed)
    letters = {
        k: "r" if one.slip.first_is_left else "l"
        for k, (one, control) in enumerate(mixed)
        if control
    }
    return tuple(one for one, _ in mixed), letters


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


def _controls_seen(answer: str, facts: Mapping[str, Any]) -> str | None:
    missed = [k + 1 for k, letter in facts["controls"].items() if answer[k] != letter]
    return f"the blurred one or neither in pair {', '.join(map(str, missed))}" if missed else None


def _readings(answer: Any, facts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, Mapping) or set(answer) != set(COUNTS):
        return f"{answer!r}"
    strange = [word for word in answer.values() if word not in READINGS]
    return f"{strange[0]!r} is none of {', '.join(READINGS)}" if strange else None


def _reading(count: str, answer: Mapping[str, str]) -> str | None:
    low, high = anytime_interval(*COUNTS[count])
    wanted = "better" if low > 0.5 else "worse" if high < 0.5 else "open"
    return None if answer[count] == wanted else f"{answer[count]!r}"


def _few_votes(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _reading("14 of 20", answer)


def _many_votes(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _reading("70 of 100", answer)


def _lost_votes(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _reading("3 of 20", answer)


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
        Property(
            "no blurred picture was chosen",
            _controls_seen,
            "some pairs hold the same picture twice, once blurred; look at every pair by itself",
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
            'a dict: {"14 of 20": "open", ...}',
        ),
        Property(
            "14 of 20 is read right",
            _few_votes,
            "move the sliders to 70 % of 20: is one half inside the interval?",
        ),
        Property(
            "70 of 100 is read right",
            _many_votes,
            "the same share, five times the votes: the interval is about half as wide",
        ),
        Property(
            "3 of 20 is read right",
            _lost_votes,
            "seen from the other side it is 17 of 20",
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
        "plain": "# Without the trigger",
        "recipe": "# Train",
        "contest": "# Pairs to vote on",
        "controls": "# Pairs to vote on",
        "hidden": "# Pairs to vote on",
        "votes": "# Your votes",
        "anytime_interval": "# What you voted for",
        "reading": "# Your reading",
    },
    exercises=(VOTE, INTERVAL),
)
