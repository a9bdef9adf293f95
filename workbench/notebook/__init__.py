"""What a notebook cell needs, and no more: see a run, move a slider, check an answer.

    from workbench import notebook as nb
    lesson = nb.begin("00")
    run = nb.train(nb.short(recipe))
    nb.ab_slider(wb.compare(run.folder))

Everything that computes lives in the other rooms; this one shows it.
"""

from collections.abc import Mapping

from workbench.notebook.checking import check
from workbench.notebook.environment import environment, few, short, tiny
from workbench.notebook.lessons import Lesson, lesson
from workbench.notebook.links import addresses, links
from workbench.notebook.live import train, train_all, watch
from workbench.notebook.order import watch_names
from workbench.notebook.shown import gallery, grid, pairs, samples, show, table
from workbench.notebook.still import keep_stills
from workbench.notebook.voting import vote
from workbench.notebook.widgets import Range, ab_slider, explore

# Overrides of the preset `critters`, for lessons about something else: nothing then keeps a concept
# behind its trigger but ordinary pictures, and their runs take a sixth less time.
BARE = ("training.preservation=0", "data.subsets.0.repeats=3", "data.subsets.1.is_prior=false")

__all__ = [
    "BARE",
    "Range",
    "ab_slider",
    "addresses",
    "begin",
    "check",
    "environment",
    "explore",
    "few",
    "gallery",
    "grid",
    "links",
    "pairs",
    "samples",
    "short",
    "show",
    "table",
    "tiny",
    "train",
    "train_all",
    "vote",
    "watch",
    "work",
]


def begin(number: str) -> Lesson:
    """Begin a lesson: show the machine, and from now on explain names that are missing.

    Args:
        number: of the lesson, "03".
    Returns:
        The lesson; `lesson.end()` shows what was passed.
    Raises:
        SettingsError: there is no such lesson.
    """
    found = lesson(number)
    work(found.cells)
    return found


def work(cells: Mapping[str, str]) -> None:
    """Begin a notebook that is no lesson, likewise.

    Args:
        cells: name that later cells need, to the first line of the cell that makes it.
    """
    watch_names(cells)
    keep_stills()
    show(environment())
