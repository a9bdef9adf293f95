"""`check --batches`: what the first steps of a run will see, in the terminal and on a page."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.progress import StageBar
from workbench.commands.terminal import say, table

if TYPE_CHECKING:
    from workbench.evaluation.batches import Sheet
    from workbench.recipe import Recipe

SHOWN_LETTERS = 60


def show_batches(recipe: "Recipe", count: int, out: Path | None = None) -> None:
    """Make a run's first batches as the trainer would, and show them without training.

    Args:
        recipe: what would be trained.
        count: micro-batches, >= 1.
        out: page to write; `NAME-batches.html` here when left out.
    Raises:
        SettingsError, FileRefused: the recipe, the base or the data cannot be used.
    """
    from workbench.evaluation import batches
    from workbench.training.trainer import assemble

    with tempfile.TemporaryDirectory() as folder, StageBar() as bar:
        stages = assemble(recipe, folder=Path(folder))
        while True:
            try:
                event = next(stages)
            except StopIteration as end:
                trainer = end.value
                break
            bar.update(event.stage, event.done, event.total, unit="items")
        sheets = []
        for sheet in batches.gather(trainer, count):
            sheets.append(sheet)
            bar.update("making batches", len(sheets), count, unit="batches")
    said = trainer.batches.said
    _show(sheets)
    say(said)
    page = out or Path(f"{recipe.name}-batches.html")
    say(str(batches.write(sheets, page, name=recipe.name, said=said)))


def _show(sheets: "list[Sheet]") -> None:
    from workbench.data.sources import shown

    rows = [
        (
            f"{sheet.step}",
            shown(card.name),
            f"{card.corner[0]}, {card.corner[1]}",
            f"{card.scale:.2f}",
            str(card.timestep),
            f"{card.weight:.3g}",
            _shortened(card.caption),
        )
        for sheet in sheets
        for card in sheet.cards
    ]
    table(("step", "image", "crop at", "scale", "timestep", "weight", "caption"), rows)


def _shortened(caption: str) -> str:
    if not caption:
        return "(empty: dropped, its trigger too)"
    line = " ".join(caption.split())
    return line if len(line) <= SHOWN_LETTERS else line[: SHOWN_LETTERS - 3] + "..."
