"""Lesson 00: the whole journey once; how long will it take?"""

from collections.abc import Mapping
from typing import Any

from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson


def _is_a_time(answer: Any, facts: Mapping[str, Any]) -> str | None:
    positive = isinstance(answer, int | float) and not isinstance(answer, bool) and answer > 0
    return None if positive else f"{answer!r}"


def _is_near(answer: float, facts: Mapping[str, Any]) -> str | None:
    """Off by no more than the factor; a machine that does other things as well is no clock.

    The next run takes three batches a step, so that leaving them out is off by 3, far above it.
    """
    measured, factor = facts["measured_s"], facts.get("factor", 1.6)
    if measured / factor <= answer <= measured * factor:
        return None
    return f"{answer:.1f} s predicted, {measured:.1f} s measured"


LESSON = Lesson(
    number="00",
    title="What happens, end to end?",
    file="00_first_lora.ipynb",
    cells={
        "recipe": "# The recipe",
        "run": "# Train",
        "wb": "# The recipe",
        "comparison": "# Slide between base and LoRA",
        "events": "# The stable loss",
        "later": "# The next run",
        "read": "# The stable loss",
        "stage_seconds": "# Where the time went",
        "guess_s": "# Your prediction",
        "measured_s": "# Measure",
    },
    exercises=(
        Exercise(
            name="00.time",
            question="How many seconds will the steps of the next run take?",
            properties=(
                Property("it is a time, in seconds", _is_a_time, "a number above 0"),
                Property(
                    "it is near what was measured",
                    _is_near,
                    "count what one step took in the first run, how many steps are to come and how "
                    "many batches a step takes; loading, sampling and proof do not count",
                ),
            ),
        ),
    ),
)
