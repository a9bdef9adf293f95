"""Putting the readings of all subsets together, and saying what is missing from the whole."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

from workbench.data.reading import Reading
from workbench.data.subsets import Computed, SetAside, Subset
from workbench.settings import SettingsError

__all__ = ["joined", "nothing_usable", "without_box"]

T = TypeVar("T")


def without_box(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Say how many pictures a box crop does nothing for.

    Args:
        readings: of all subsets.
    Returns:
        One note, or none.
    Raises:
        SettingsError: no picture has a box.
    """
    records = [record for reading in readings for record in reading.records]
    missing = sum(record.box is None for record in records)
    if records and missing == len(records):
        raise SettingsError(
            "data.augment.crop = 'box' needs pictures with a box, and none has one: give "
            "metadata.jsonl a column box (left, top, width, height in px), or crop = 'random'. "
            "Nothing here finds faces by itself"
        )
    if not missing:
        return ()
    return (f"{missing} of {len(records)} pictures have no box and stay cropped in the centre",)


def joined(parts: Sequence[Sequence[T]]) -> Sequence[T]:
    """Make one sequence of several; plain lists are copied, drawn worlds stay computed.

    Args:
        parts: one sequence a subset.
    Returns:
        Their items in order.
    """
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, list) for part in parts):
        return [item for part in parts for item in part]
    ends = list(accumulate(map(len, parts)))

    def make(position: int) -> T:
        part = bisect_right(ends, position)
        return parts[part][position - ends[part] + len(parts[part])]

    return Computed(ends[-1], make)


def nothing_usable(
    subsets: Sequence[Subset], set_aside: Sequence[SetAside], notes: Sequence[str]
) -> str:
    """Explain that no picture can be used.

    Args:
        subsets: where they were looked for.
        set_aside: what was found instead.
        notes: what else was noticed.
    Returns:
        Several lines.
    """
    paths = ", ".join(subset.path for subset in subsets)
    lines = [f"no usable picture in {paths}: {len(set_aside)} files were set aside"]
    if not set_aside:
        lines = [f"no picture in {paths}: put .png, .jpg or .webp files there, or name another"]
    # Reasons differ in their numbers; the first few files say what is wrong.
    lines += [f"  {item.name!a}: {item.reason}" for item in set_aside[:5]]
    lines += [f"  and {len(set_aside) - 5} more"] if len(set_aside) > 5 else []
    return "\n".join([*lines, *(f"  note: {note}" for note in notes)])
