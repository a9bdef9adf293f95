"""Lesson 02: buckets; which one does a picture get?"""

from collections.abc import Mapping
from typing import Any

from workbench.data.buckets import BucketSettings, place, sizes
from workbench.notebook.checking import Exercise, Property
from workbench.notebook.lessons import Lesson

SD15 = BucketSettings(resolution=512, step=64)
PICTURES = ((1200, 800), (1000, 1000), (1080, 1920), (800, 900), (1400, 500), (2400, 400))


def _all_named(answer: Any, facts: Mapping[str, Any]) -> str | None:
    if not isinstance(answer, Mapping):
        return f"{answer!r}"
    missing = [f"{w} x {h}" for w, h in PICTURES if (w, h) not in answer]
    return f"no bucket for {', '.join(missing)}" if missing else None


def _are_buckets(answer: Mapping[Any, Any], facts: Mapping[str, Any]) -> str | None:
    unknown = [answer[one] for one in PICTURES if tuple(answer[one]) not in sizes(SD15)]
    return f"{unknown[0]} is none of them" if unknown else None


def _same_way(answer: Mapping[Any, Any], facts: Mapping[str, Any]) -> str | None:
    for (width, height), (across, down) in ((one, answer[one]) for one in PICTURES):
        if (width - height) * (across - down) < 0:
            return f"{width} x {height} in {across} x {down}"
    return None


def _nearest(answer: Mapping[Any, Any], facts: Mapping[str, Any]) -> str | None:
    for one in PICTURES:
        right = place(*one, SD15)
        if tuple(answer[one]) != right.bucket:
            return f"a nearer one than {answer[one]} for {one[0]} x {one[1]}"
    return None


LESSON = Lesson(
    number="02",
    title="What does the model see?",
    file="02_buckets.ipynb",
    cells={
        "drawn": "# The album",
        "cropped": "# Squares only",
        "rules": "# Squares only",
        "choices": "# Cut off, with and without buckets",
        "buckets": "# Buckets",
        "found": "# The ledger",
        "ledger": "# The ledger",
        "family": "# Through the autoencoder",
        "torch": "# Through the autoencoder",
        "sheets": "# Colours that change, and the cache",
        "assigned": "# Your answer",
    },
    exercises=(
        Exercise(
            name="02.assign",
            question="Which bucket does each of the six pictures get?",
            properties=(
                Property(
                    "every picture has a bucket",
                    _all_named,
                    "a dict from (width, height) of the picture to (width, height) of the bucket",
                ),
                Property(
                    "they are buckets of the table",
                    _are_buckets,
                    "sides are multiples of 64, and the area is at most 512 x 512",
                ),
                Property(
                    "wide stays wide, tall stays tall",
                    _same_way,
                    "(width, height): the larger number of a wide picture comes first",
                ),
                Property(
                    "each is the nearest in shape",
                    _nearest,
                    "divide the picture's width / height by the bucket's: the ratio nearest to 1, "
                    "be it above or below, is the nearest shape; of equal shapes the larger bucket",
                ),
            ),
        ),
    ),
)
