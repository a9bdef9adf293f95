"""Lesson 09: from scratch; what knowing nothing costs."""

from collections.abc import Mapping
from typing import Any

from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

NAMES = ("zero", "other", "half", "offset")
# Variances add up where things have nothing to do with each other.
LOSSES = {"zero": 1.0, "other": 1 + 0.25, "half": 0.5**2, "offset": 1 + 0.5**2}
PRECISION = 0.01


def _numbers(answer: Any, facts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, Mapping) or set(answer) != set(NAMES):
        return f"{answer!r}"
    strange = [one for one in answer.values() if not isinstance(one, int | float)]
    return f"{strange[0]!r} is no number" if strange else None


def _near(name: str, answer: Mapping[str, float]) -> str | None:
    found = answer[name]
    return None if abs(found - LOSSES[name]) <= PRECISION else f"{found:g}"


def _zero(answer: Mapping[str, float], facts: Mapping[str, Any]) -> str | None:
    return _near("zero", answer)


def _other(answer: Mapping[str, float], facts: Mapping[str, Any]) -> str | None:
    return _near("other", answer)


def _half(answer: Mapping[str, float], facts: Mapping[str, Any]) -> str | None:
    return _near("half", answer)


def _offset(answer: Mapping[str, float], facts: Mapping[str, Any]) -> str | None:
    return _near("offset", answer)


LESSON = Lesson(
    number="09",
    title="What if there is no base?",
    file="09_from_scratch.ipynb",
    cells={
        "run": "# From nothing",
        "recipe": "# From nothing",
        "losses": "# The first steps",
        "runs": "# Four beginnings",
        "read": "# The first steps",
        "yours": "# Your answer",
    },
    exercises=(
        Exercise(
            name="09.explain",
            question="What is the loss of four models that know nothing or little?",
            properties=(
                Property(
                    "there are four numbers with the four names",
                    _numbers,
                    'a dict: {"zero": ..., "other": ..., "half": ..., "offset": ...}',
                ),
                Property(
                    "always answering 0 is priced right",
                    _zero,
                    "target minus 0 is the target; the mean of its square is its variance",
                ),
                Property(
                    "an unrelated answer is priced right",
                    _other,
                    "the variance of a difference of two unrelated noises is the sum of theirs",
                ),
                Property(
                    "half of the truth is priced right",
                    _half,
                    "what is missing is half of the target; squared, half becomes a quarter",
                ),
                Property(
                    "answering 0 to noise with an offset is priced right",
                    _offset,
                    "the offset is one more number, unrelated to the rest, of variance 0.5 squared",
                ),
            ),
        ),
    ),
)
