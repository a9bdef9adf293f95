"""The lessons: what each is about, its exercises, and which cell makes what."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from workbench.notebook import record
from workbench.notebook.checking import Exercise
from workbench.notebook.shown import Shown, show, table
from workbench.settings import SettingsError


@dataclass(frozen=True)
class Lesson:
    """One lesson of the course.

    Attributes:
        number: "03".
        title: its question.
        file: the notebook in tutorials/.
        cells: name that later cells need, to the first line of the cell that makes it.
        exercises: with their tests.
    """

    number: str
    title: str
    file: str
    cells: Mapping[str, str] = field(default_factory=dict)
    exercises: tuple[Exercise, ...] = ()

    def end(self) -> None:
        """Show which exercises of this lesson are passed, and how far the course is."""
        days, every = record.passed(), lessons()
        rows = {
            one.name: {"passed": days.get(one.name, "not yet"), "question": one.question}
            for one in self.exercises
        }
        names = [one.name for lesson in every for one in lesson.exercises]
        done = sum(name in days for name in names)
        so_far = f"{done} of {len(names)} exercises of the course are passed."
        show(table(rows), Shown(f"<p>{so_far} Kept in {record.path()}</p>", so_far))


def lessons() -> list[Lesson]:
    """All lessons that there are.

    Returns:
        In the order of their numbers.
    """
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}").LESSON for name in names]


def lesson(number: str) -> Lesson:
    """Look a lesson up.

    Args:
        number: "03".
    Returns:
        The lesson.
    Raises:
        SettingsError: there is none.
    """
    every = {one.number: one for one in lessons()}
    if number not in every:
        raise SettingsError(f"lesson must be one of {', '.join(every)}, got {number!r}")
    return every[number]


def exercise(name: str) -> Exercise:
    """Look an exercise up.

    Args:
        name: "01.dropout".
    Returns:
        The exercise.
    Raises:
        SettingsError: there is none.
    """
    found = {one.name: one for each in lessons() for one in each.exercises}
    if name not in found:
        raise SettingsError(f"exercise must be one of {', '.join(found)}, got {name!r}")
    return found[name]
