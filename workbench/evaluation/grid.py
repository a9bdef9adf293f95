"""A grid over any two of prompt, seed, strength, checkpoint, guidance and steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

from PIL import Image

from workbench.evaluation.loading import final_file
from workbench.evaluation.painter import Painter, Spot
from workbench.records.events import Saved
from workbench.records.log import read
from workbench.settings import SettingsError
from workbench.store import FileRefused

T = TypeVar("T")
Axis = Literal["prompt", "seed", "strength", "checkpoint", "guidance", "steps"]
AXES: tuple[Axis, ...] = get_args(Axis)
STRENGTHS = (0.0, 0.5, 1.0, 1.5)
MAX_STEPS = 8
_FIELDS: dict[Axis, str] = {axis: "file" if axis == "checkpoint" else axis for axis in AXES}


@dataclass(frozen=True, slots=True)
class Line:
    """One row or column of a grid.

    Attributes:
        axis: what changes along it.
        values: what it takes, of the axis's own kind; a checkpoint is its file.
    """

    axis: Axis
    values: tuple[object, ...]

    def label(self, value: object) -> str:
        """What stands beside a row or above a column.

        Args:
            value: one of `values`.
        Returns:
            A few words.
        """
        if isinstance(value, Path):
            return value.stem
        words = f"{value:g}" if isinstance(value, float) else str(value)
        return words if self.axis == "prompt" else f"{self.axis} {words}"


def spots(fixed: Spot, rows: Line, columns: Line) -> dict[tuple[object, object], Spot]:
    """Say which pictures a grid is made of.

    Args:
        fixed: what all of them share.
        rows: what changes from row to row.
        columns: what changes from column to column.
    Returns:
        Values of row and column to what is drawn there, row by row.
    Raises:
        SettingsError: both axes are the same, or one has no values.
    """
    if rows.axis == columns.axis:
        raise SettingsError(
            f"the rows and columns of a grid must differ, got {rows.axis} for both; choose two of "
            f"{', '.join(AXES)}"
        )
    for line in (rows, columns):
        if not line.values:
            raise SettingsError(f"the grid's {line.axis} has no values; give at least one")
    found = {}
    for row in rows.values:
        for column in columns.values:
            changes = {_FIELDS[rows.axis]: row, _FIELDS[columns.axis]: column}
            found[row, column] = replace(fixed, **changes)  # type: ignore[arg-type]
    return found


def draw_grid(
    folder: str | Path,
    rows: Line,
    columns: Line,
    *,
    fixed: Mapping[str, object] | None = None,
    base: str | None = None,
    told: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, Image.Image]]:
    """Draw a grid over two axes, the others fixed.

    Args:
        folder: the run folder.
        rows: what changes from row to row.
        columns: what changes from column to column.
        fixed: values of other axes; by default the run's first prompt, seed 0, strength 1, its
            final file, guidance and steps.
        base: where the base lies now, if not where it was.
        told: hears how many pictures are there, and of how many.
    Returns:
        Label of the row to label of the column to picture.
    Raises:
        FileRefused: the run has saved no file.
        SettingsError: the axes are the same, a value is out of bounds, or there is no prompt.
    """
    chosen = dict(fixed or {})
    asked = [line for line in (rows, columns) if line.axis == "prompt"]
    prompts = [str(x) for line in asked for x in line.values] + [str(chosen.get("prompt") or "")]
    painter = Painter.open(folder, base=base, prompts=list(filter(None, prompts)))
    first = Spot(
        file=Path(str(chosen.pop("checkpoint", None) or final_file(folder))),
        prompt=str(chosen.pop("prompt", None) or next(iter(painter.prompts), "")),
    )
    places = spots(replace(first, **chosen), rows, columns)  # type: ignore[arg-type]
    if not all(one.prompt for one in places.values()):
        raise SettingsError("the run brings no prompt to draw; give one: fixed={'prompt': '...'}")
    drawn = painter.pictures(list(places.values()), told=told)
    return {
        rows.label(row): {
            columns.label(column): drawn[places[row, column]] for column in columns.values
        }
        for row in rows.values
    }


def saved_files(folder: str | Path) -> dict[int, Path]:
    """Find the LoRA files that a run wrote along its way.

    Args:
        folder: the run folder.
    Returns:
        Step to file, those that are still there.
    """
    found = {
        event.step: Path(folder) / event.path
        for event in read(folder)
        if isinstance(event, Saved) and event.what == "lora"
    }
    return {step: path for step, path in sorted(found.items()) if path.exists()}


def spread(items: Sequence[T], most: int) -> list[T]:
    """Pick of many in even distances.

    Args:
        items: in their order.
        most: how many to keep at most, >= 2.
    Returns:
        All of few; of more the first, the last, and those between.
    """
    if len(items) <= most:
        return list(items)
    return [items[k * (len(items) - 1) // (most - 1)] for k in range(most)]


def strength_grid(
    folder: str | Path,
    *,
    strengths: Sequence[float] = STRENGTHS,
    prompt: str | None = None,
    seed: int = 0,
    base: str | None = None,
) -> dict[int, dict[float, Image.Image]]:
    """Draw one picture with every saved file at every strength.

    Args:
        folder: the run folder.
        strengths: factors on what was learned; 0 is the base.
        prompt: what to draw; the run's first sample prompt if left out.
        seed: of the picture.
        base: where the base lies now, if not where it was.
    Returns:
        Step to strength to picture; of many files an even spread of eight, the last included.
    Raises:
        FileRefused: the run has saved no file.
    """
    files = saved_files(folder)
    if not files:
        raise FileRefused(
            f"{folder}: no LoRA file yet; they come with training.lora_every, and at the end"
        )
    steps = spread(list(files), MAX_STEPS)
    painter = Painter.open(folder, base=base, prompts=[prompt] if prompt else [])
    shown = painter.prompts[0] if prompt is None else prompt
    places = {(step, at): Spot(files[step], shown, seed, at) for step in steps for at in strengths}
    drawn = painter.pictures(list(places.values()))
    return {step: {at: drawn[places[step, at]] for at in strengths} for step in steps}
