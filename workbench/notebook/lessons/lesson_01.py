"""Lesson 01: captions; tags are dropped and the trigger stays."""

from collections.abc import Mapping
from typing import Any

from workbench.data.captions import CaptionSettings, Simulation, simulate, split_tags
from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

CAPTION = "mochi, critter, smile, hills, mint background, left"
NUM_DRAWS = 4000  # a share of .7 is known to 0.7 points then


def _drawn(answer: CaptionSettings) -> Simulation:
    return simulate(CAPTION, answer, num_draws=NUM_DRAWS)


def _are_settings(answer: Any, facts: Mapping[str, Any]) -> str | None:
    return None if isinstance(answer, CaptionSettings) else f"{type(answer).__name__}"


def _trigger_stays(answer: CaptionSettings, facts: Mapping[str, Any]) -> str | None:
    share = _drawn(answer).survival["mochi"]
    return None if share == 1 else f"it is in {share:.1%}"


def _others_are_dropped(answer: CaptionSettings, facts: Mapping[str, Any]) -> str | None:
    shares = {tag: share for tag, share in _drawn(answer).survival.items() if tag != "mochi"}
    off = {tag: share for tag, share in shares.items() if abs(share - 0.7) > 0.03}
    return ", ".join(f"{tag} in {share:.1%}" for tag, share in off.items()) or None


def _order_changes(answer: CaptionSettings, facts: Mapping[str, Any]) -> str | None:
    seconds = [split_tags(one, answer)[1:2] for one in _drawn(answer).draws]
    last = seconds.count(["left"]) / NUM_DRAWS
    # Unshuffled, the last tag comes second only where all between are dropped: in 0.6 %.
    return None if last > 0.1 else f"the last tag comes second in {last:.1%}"


LESSON = Lesson(
    number="01",
    title="What do captions teach?",
    file="01_captions.ipynb",
    cells={
        "CaptionSettings": "# One caption, six draws",
        "caption": "# One caption, six draws",
        "simulate": "# One caption, six draws",
        "plain": "# Kept or not",
        "kept": "# Train both",
        "wb": "# Kept or not",
        "json": "# Kept or not",
        "styles": "# With and without tag dropout",
        "likeness_of": "# Called and not called",
        "prompts": "# Kept or not",
        "recipe": "# With and without tag dropout",
        "yours": "# Your answer",
    },
    exercises=(
        Exercise(
            name="01.dropout",
            question="Which settings keep the trigger and seven in ten of the other tags?",
            properties=(
                Property("they are settings", _are_settings, "CaptionSettings(setting=value, ...)"),
                Property(
                    "the trigger is in every draw",
                    _trigger_stays,
                    "it is the first tag; one setting protects leading tags from tag dropout, and "
                    "another one drops whole captions whatever protects them",
                ),
                Property(
                    "every other tag is in 70 % of the draws, 3 more or less",
                    _others_are_dropped,
                    "dropout is the chance to be left out, and protected tags do not count",
                ),
                Property(
                    "the others' order is new each time", _order_changes, "tags can be shuffled"
                ),
            ),
        ),
    ),
)
