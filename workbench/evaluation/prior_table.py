"""What priors came to, as a table: which preserves, and which only dilutes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workbench.evaluation.priors import AS_OFTEN, ASKED, Measured
from workbench.evaluation.statistics import LEVEL, Estimate, estimate, holm

LEAST = 0.1  # share of the leak that must be gone for a prior to be said to preserve


@dataclass(frozen=True, slots=True)
class Row:
    """What a cell came to over its seeds.

    Attributes:
        name: of the cell.
        trainings: runs that were measured.
        likeness: above the base's, by "called", "short" and "full".
        leak: in the model.
        word: "preserves", "dilutes", "no clear change", or "" where it is compared with nothing.
        values: leak of each picture, a mean over seeds.
    """

    name: str
    trainings: int
    likeness: Mapping[str, Estimate]
    leak: Estimate
    word: str = ""
    values: tuple[float, ...] = field(default=(), repr=False)


def rows(found: Mapping[str, Sequence[Measured]]) -> list[Row]:
    """Sum cells up: seeds are averaged first, so that prompts and pictures are the units.

    Args:
        found: measured runs by the name of their cell, in order.
    Returns:
        One row each; all comparisons with the LoRA that had no prior are one family.
    """
    made = []
    for name, runs_of in found.items():
        likeness = {
            kind: estimate(np.mean([one.likeness[kind] for one in runs_of], axis=0))
            for kind in ASKED
        }
        values = np.mean([one.leak for one in runs_of], axis=0)
        made.append(Row(name, len(runs_of), likeness, estimate(values), "", tuple(values)))
    return _compared(made)


def _compared(made: list[Row]) -> list[Row]:
    """Say of each cell what its prior did, beside as many showings of the concept without one."""
    none = next((row for row in made if row.name == AS_OFTEN), None)
    others = [row for row in made if none is not None and not row.name.startswith("none")]
    if none is None or not others:
        return made
    tests = [estimate(np.subtract(row.values, none.values)) for row in others]
    corrected = holm([one.p for one in tests])
    words = {}
    for row, one, p in zip(others, tests, corrected, strict=True):
        lower = p < LEVEL and one.mean < -LEAST * none.leak.mean
        less = row.likeness["called"].mean < none.likeness["called"].mean
        words[row.name] = "preserves" if lower else "dilutes" if less else "no clear change"
    return [replace(row, word=words.get(row.name, "")) for row in made]


HEAD = (
    "prior", "trainings", "with trigger", "without, short", "without, full", "leak in the model",
    "what it does",
)  # fmt: skip


def line(row: Row) -> tuple[str, ...]:
    """A row as texts, one for each of `HEAD`."""

    def said(one: Estimate, form: str) -> str:
        low, high = (format(end, form) for end in (one.low, one.high))
        return f"{one.mean:{form}} ({low} to {high})"

    likeness = (said(row.likeness[kind], "+.3f") for kind in ASKED)
    return row.name, str(row.trainings), *likeness, said(row.leak, ".2f"), row.word


def as_markdown(made: Sequence[Row]) -> str:
    """The table as Markdown, with a line that says what it shows."""
    lines = [HEAD, ("---",) * len(HEAD), *(line(row) for row in made)]
    table = "\n".join("| " + " | ".join(cells_of) + " |" for cells_of in lines)
    few = max((one.n for row in made for one in row.likeness.values()), default=0)
    pictures = max((len(row.values) for row in made), default=0)
    return (
        f"{table}\n\nLikeness to the concept's pictures above the base's: {few} prompts of each "
        f"kind, one picture of each a training. Leak: {pictures} pictures. Intervals of 95 %.\n"
    )
