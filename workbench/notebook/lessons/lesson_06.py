"""Lesson 06: optimizers; runs that do not learn, told apart by their instruments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.evaluation.instruments import instruments
from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson
from workbench.recipe import Recipe

WORDS = ("healthy", "rate too high", "rate too low", "d stuck")
_PLAIN = ("optimizer.kind=adamw",)
# What each anonymous run is, and what makes it so.
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "A": ("rate too high", (*_PLAIN, "optimizer.learning_rate=0.05")),
    "B": (
        "d stuck",
        (
            "optimizer.kind=prodigy",
            "optimizer.learning_rate=1e-4",  # AdamW's, left over: d is estimated from its steps
            'checks.allow=["prodigy_rate"]',
        ),
    ),
    # Prodigy too, or the only run with a d would be known without a look at it: -27.8 %, d x 19.
    "C": (
        "healthy",
        ("optimizer.kind=prodigy", "optimizer.learning_rate=1", "optimizer.d0=1e-4"),
    ),
    "D": ("rate too low", (*_PLAIN, "optimizer.learning_rate=4e-6")),
}


def anonymous(recipe: Recipe) -> dict[str, Recipe]:
    """Make the four runs of the exercise; their names tell nothing.

    Args:
        recipe: what all share.
    Returns:
        "A" to "D" to recipe, forty steps each and without pictures.
    """
    shared = (
        "length.steps=40",
        "sampling.prompts=[]",
        "validation.every_steps=20",
        "training.checkpoint_every=40",
        "schedule.kind=constant",
        "schedule.warmup=0",
    )
    return {
        letter: recipe.override([*own, *shared, f"name=lesson06-{letter}"])
        for letter, (_, own) in RUNS.items()
    }


def readings(folder: Path) -> dict[str, str]:
    """Read the instruments of an anonymous run.

    Args:
        folder: the run folder.
    Returns:
        Name to value; the rate that was set is left out, since it would be the answer.
    """
    return {name: value for name, value in instruments(folder).items() if name != "rate"}


def _names_every_run(answer: Any, facts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, Mapping) or set(answer) != set(RUNS):
        return f"{answer!r}"
    strange = [word for word in answer.values() if word not in WORDS]
    return f"{strange[0]!r} is none of {', '.join(WORDS)}" if strange else None


def _right(letter_of: str, answer: Mapping[str, str]) -> str | None:
    [letter] = [one for one, (word, _) in RUNS.items() if word == letter_of]
    return None if answer[letter] == letter_of else f"{letter} is called {answer[letter]!r}"


def _healthy(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _right("healthy", answer)


def _too_high(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _right("rate too high", answer)


def _stuck(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _right("d stuck", answer)


def _too_low(answer: Mapping[str, str], facts: Mapping[str, Any]) -> str | None:
    return _right("rate too low", answer)


LESSON = Lesson(
    number="06",
    title="Why is nothing happening?",
    file="06_optimizers.ipynb",
    cells={
        "run": "# A run that does nothing",
        "diagnose": "# The diagnosis",
        "prodigy": "# A run that does nothing",
        "recipe": "# A run that does nothing",
        "d_of": "# Its d",
        "run2": "# Weights in float32",
        "EMASettings": "# Young memory",
        "lines": "# Both d",
        "read": "# Its d",
        "run3": "# A shorter memory",
        "experiment": "# Five optimizers",
        "others": "# Five optimizers",
        "shared": "# Five optimizers",
        "yours": "# Your answer",
        "strange": "# Four anonymous runs",
    },
    exercises=(
        Exercise(
            name="06.diagnose",
            question="What is wrong with each of four runs?",
            properties=(
                Property(
                    "each of the four runs has one of the four words",
                    _names_every_run,
                    'a dict: {"A": "healthy", "B": ...}',
                ),
                Property(
                    "the healthy run is found",
                    _healthy,
                    "only one of them predicts its training pictures much better than the base: "
                    "look at the stable loss",
                ),
                Property(
                    "the run with too high a rate is found",
                    _too_high,
                    "its weights have come furthest, and it is worse off than the base",
                ),
                Property(
                    "the run whose d is stuck is found",
                    _stuck,
                    "two have hardly moved; two have a d, and only one of these has grown",
                ),
                Property(
                    "the run with too low a rate is found",
                    _too_low,
                    "two have hardly moved; of these it is the one that has no d",
                ),
            ),
        ),
    ),
)
