"""What the rows and columns of the grid may be, and how their values are written."""

import re
from collections.abc import Sequence
from pathlib import Path

from workbench.app.compare_source import wanted_of
from workbench.app.words import text
from workbench.evaluation.grid import AXES, Axis, Line, spread
from workbench.evaluation.painter import sampled
from workbench.records.sampling import SampleSettings
from workbench.settings import SettingsError
from workbench.workspace.loras import Source, checkpoints

__all__ = ["AXES", "line", "proposed", "rows_of"]

MAX_ROWS = 6
MAX_VALUES = 8
STRENGTHS = (0.5, 0.75, 1.0, 1.25)


def rows_of(source: Source) -> list[Path]:
    """The files that a grid shows.

    Args:
        source: a run or a file.
    Returns:
        The file; of a run at most six, the first and the last among them.
    """
    return spread(checkpoints(source.path), MAX_ROWS) if source.is_run else [source.path]


def proposed(axis: Axis, source: Source) -> str:
    """Values of an axis to begin with.

    Args:
        axis: which.
        source: a run or a file.
    Returns:
        As they are written: prompts one a line, others with commas between them.
    """
    how = wanted_of(source).sampling
    usual: dict[str, Sequence[object]] = {
        "seed": (0, 1, 2, 3),
        "strength": [f"{value:g}" for value in STRENGTHS],
        "checkpoint": [path.stem for path in rows_of(source)],
        "guidance": sorted({1, 2, 7, how.guidance}),
        "steps": sorted({10, 50, how.steps}),
    }
    if axis == "prompt":
        return "\n".join(wanted_of(source).prompts[:MAX_VALUES])
    return ", ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in usual[axis])


def line(axis: Axis, given: str, source: Source) -> Line:
    """Read the values of an axis.

    Args:
        axis: which.
        given: as they were written.
        source: whose checkpoints they may be.
    Returns:
        Rows or columns, each value once.
    Raises:
        SettingsError: a value is none of this axis, or there are none or too many.
    """
    separator = r"\n" if axis == "prompt" else r"[,\n]"
    pieces = list(dict.fromkeys(filter(None, map(str.strip, re.split(separator, given)))))
    if not 1 <= len(pieces) <= MAX_VALUES:
        said = text("compare_values_count", axis=axis, most=MAX_VALUES, count=len(pieces))
        raise SettingsError(said)
    return Line(axis, tuple(dict.fromkeys(_value(axis, one, source) for one in pieces)))


def _value(axis: Axis, given: str, source: Source) -> object:
    if axis == "prompt":
        return given
    if axis == "checkpoint":
        files = {path.stem: path for path in checkpoints(source.path)} if source.is_run else {}
        if given not in (files := files or {source.path.stem: source.path}):
            there = ", ".join(files)
            raise SettingsError(text("compare_values_file", given=given, there=there))
        return files[given]
    number = _number(given)
    whole = axis in ("seed", "steps")
    if number is None or (whole and not number.is_integer()):
        raise SettingsError(text("compare_values_number", axis=axis, given=given))
    if axis == "strength" and not -4 <= number <= 4:
        raise SettingsError(text("compare_strengths_wrong", given=given))
    if axis == "seed" and not 0 <= number < 2**63:
        raise SettingsError(text("compare_values_number", axis=axis, given=given))
    if axis == "guidance":  # its bounds are the setting's own
        sampled(SampleSettings(), guidance=number, steps=None)
    if axis == "steps":
        sampled(SampleSettings(), guidance=None, steps=int(number))
    return int(number) if whole else number


def _number(given: str) -> float | None:
    try:
        return float(given)
    except ValueError:
        return None
