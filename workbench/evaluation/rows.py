"""From a measure of each picture to a row of a table: its change over prompts, with an interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from workbench.evaluation.results import DriftRow
from workbench.evaluation.statistics import MIN_PROMPTS, estimate, unit_means


def change_row(
    name: str, prompts: Sequence[str], *, base: ArrayLike, trained: ArrayLike
) -> DriftRow:
    """Say how a measure changed against the base; the prompts are the independent units.

    Args:
        name: the measure, with its unit.
        prompts: of each picture, (N,).
        base: the measure of the base's pictures, (N,), at least one.
        trained: of the trained model's, same prompts and seeds.
    Returns:
        The row; of a single prompt its interval has no end.
    """
    before, after = np.asarray(base, np.float64), np.asarray(trained, np.float64)
    values = unit_means(prompts, after - before)
    found = estimate(values)
    return DriftRow(
        name,
        float(unit_means(prompts, before).mean()),
        found.mean,
        found.low,
        found.high,
        values=tuple(values.tolist()),
        seeds=len(prompts) / len(values),
        few=MIN_PROMPTS if len(values) < MIN_PROMPTS else 0,
    )
