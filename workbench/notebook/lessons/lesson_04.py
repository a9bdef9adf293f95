"""Lesson 04: timesteps; what a weighting does to a loss curve that nothing is learned in."""

from collections.abc import Mapping
from typing import Any

from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

PRECISION = 0.03  # of the number


def _heights(facts: Mapping[str, Any]) -> dict[str, float]:
    """Mean loss under each weighting: the ranges are equally wide, so all count alike."""
    losses = facts["losses"]
    return {
        name: sum(w * x for w, x in zip(own, losses, strict=True)) / len(losses)
        for name, own in facts["weights"].items()
    }


def _is_a_pair(answer: Any, facts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        return f"{answer!r}"
    name, number = answer
    if name not in facts["weights"]:
        return f"{name!r} is none of {', '.join(facts['weights'])}"
    return None if isinstance(number, int | float) else f"{number!r} is no number"


def _is_lowest(answer: tuple[str, float], facts: Mapping[str, Any]) -> str | None:
    heights = _heights(facts)
    below = [name for name, height in heights.items() if height < heights[answer[0]]]
    return f"there is a lower one than {answer[0]}'s" if below else None


def _is_the_ratio(answer: tuple[str, float], facts: Mapping[str, Any]) -> str | None:
    heights = _heights(facts)
    wanted = heights[answer[0]] / heights["constant"]
    return None if abs(answer[1] / wanted - 1) <= PRECISION else f"{answer[1]:.3g}"


LESSON = Lesson(
    number="04",
    title="Which timesteps learn?",
    file="04_timesteps.ipynb",
    cells={
        "caption": "# What the base makes out",
        "scene": "# What the base makes out",
        "kinds": "# Signal to noise",
        "snr": "# Signal to noise",
        "Constant": "# Signal to noise",
        "changes": "# The runs",
        "recipe": "# The runs",
        "runs": "# Train them",
        "found": "# Stable loss",
        "last": "# Where each has learned",
        "lines": "# Where each has learned",
        "middles": "# Where each has learned",
        "torch": "# Signal to noise",
        "each": "# An error and a mask",
        "mask": "# An error and a mask",
        "pairwise": "# Where each has learned",
        "losses": "# Losses and weights by range",
        "weights": "# Losses and weights by range",
        "yours": "# Your answer",
    },
    exercises=(
        Exercise(
            name="04.lower_curve",
            question="Which weighting's training loss runs lowest, and how high against plain?",
            properties=(
                Property(
                    "it is the name of a weighting, and a number",
                    _is_a_pair,
                    'two things in brackets: ("min_snr", 0.9)',
                ),
                Property(
                    "no other curve runs lower",
                    _is_lowest,
                    "in each range the curve is loss times weight: where is the loss large, and "
                    "which weighting makes little of it there?",
                ),
                Property(
                    "the number is its mean loss over that of constant, 3 % more or less",
                    _is_the_ratio,
                    "multiply loss by weight in each range and take the mean over the ranges; do "
                    "the same with weights of 1; divide. The mean weight alone is another number",
                ),
            ),
        ),
    ),
)
