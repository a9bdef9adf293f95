"""Pictures of the class beside those of the concept: how the two balance, and what is missing.

DreamBooth shows ordinary pictures of the class in the same steps, so that the class keeps its look
and the concept stays behind its trigger (Ruiz et al. 2022, arXiv 2208.12242, section 3.3).
"""

from collections.abc import Sequence

from workbench.data.subsets import Record, Subset

__all__ = ["balance", "class_word", "wordless"]

UNEVEN = 2  # a ratio from which on the note says how to even it


def class_word(subset: Subset, subsets: Sequence[Subset]) -> str | None:
    """The word for prior pictures without a caption: their own, or that of the first concept.

    Args:
        subset: of the prior.
        subsets: all.
    Returns:
        The word; None where nobody named one.
    """
    words = [subset.class_word, *(other.class_word for other in subsets if not other.is_prior)]
    return next((word for word in words if word), None)


def balance(subsets: Sequence[Subset], showings: Sequence[int]) -> tuple[str, ...]:
    """Say how often prior and concept are shown, and what would even it.

    Args:
        subsets: all.
        showings: of each in an epoch, repeats included.
    Returns:
        One note; none without a prior or without a concept.
    """
    places = [place for place, subset in enumerate(subsets) if subset.is_prior]
    prior = sum(showings[place] for place in places)
    concept = sum(showings) - prior
    if not prior or not concept:
        return ()
    weights = ", ".join(f"{x:g}" for x in sorted({subsets[p].loss_weight for p in places}))
    note = (
        f"prior: {prior} showings an epoch beside {concept} of the concept "
        f"({prior / concept:.2g} to 1), at a loss weight of {weights}"
    )
    if prior * UNEVEN <= concept:
        note += f"; {_repeats(subsets, places[0], concept / prior)} would even it"
    elif concept * UNEVEN <= prior:
        first = next(place for place in range(len(subsets)) if place not in places)
        note += f"; {_repeats(subsets, first, prior / concept)} would even it"
    return (note,)


def _repeats(subsets: Sequence[Subset], place: int, factor: float) -> str:
    return f"data.subsets.{place}.repeats={round(subsets[place].repeats * factor)}"


def wordless(subsets: Sequence[Subset], records: Sequence[Sequence[Record]]) -> tuple[str, ...]:
    """Say which prior pictures nothing can be said of: they would teach the empty prompt.

    Args:
        subsets: all.
        records: of each.
    Returns:
        One note a subset that needs a class word.
    """
    notes = []
    for place, (subset, found) in enumerate(zip(subsets, records, strict=True)):
        if not subset.is_prior or class_word(subset, subsets):
            continue
        if count := sum(not record.caption for record in found):
            notes.append(
                f"prior pictures without caption and class word ({count}) teach the empty prompt; "
                f"set data.subsets.{place}.class_word"
            )
    return tuple(notes)
