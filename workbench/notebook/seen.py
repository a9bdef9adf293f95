"""What a full run of a lesson showed: the numbers in its folded boxes, and how far they have moved.

python -m workbench.notebook.seen DONE           compares executed lessons (DONE/03/03.ipynb)
python -m workbench.notebook.seen DONE --boxes   writes their numbers into the boxes
python -m workbench.notebook.seen DONE --course  writes the table of docs/course.md

A box is a `<details>` whose summary begins with `SUMMARY`, with tables in it. The upper left cell
of a table names the code cell whose table it repeats; the numbers are written "-64.9% ± 3".
"""

import html
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import store
from workbench.settings import SettingsError

ROOT = Path(__file__).parents[2]
COURSE = ROOT / "docs" / "course.md"
SUMMARY = "What a full run showed"
BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"
_BOX = re.compile(rf"<details><summary>{SUMMARY}.*?</details>", re.DOTALL)
_TABLE_ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
_TABLE_CELL = re.compile(r"<(th|td)[^>]*>(.*?)</\1>", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?|inf")
_COLUMNS = ("lesson", "cell", "number", "seen", "±", "moved by")

# Cell, row and column of a table to what stands there.
Numbers = Mapping[tuple[str, str, str], str]


@dataclass(frozen=True, slots=True)
class Seen:
    """One number of a box.

    Attributes:
        lesson: "03".
        cell: first line of the code cell that shows it, without its mark.
        row: of that cell's table.
        column: likewise.
        value: as the table showed it.
        tolerance: how far it may move until the text about it has to be read again.
    """

    lesson: str
    cell: str
    row: str
    column: str
    value: str
    tolerance: float

    @property
    def name(self) -> str:
        """Row and column in one."""
        return ", ".join(filter(None, (self.row, self.column)))


@dataclass(frozen=True, slots=True)
class Moved:
    """A number of a box beside that of another run.

    Attributes:
        seen: the box's.
        now: the other run's; None where its table has no such number.
    """

    seen: Seen
    now: float | None

    @property
    def by(self) -> float | None:
        """The difference; None where there is nothing to compare."""
        before = number(self.seen.value)
        if self.now is None or before is None:
            return None
        return 0.0 if self.now == before else self.now - before

    @property
    def holds(self) -> bool:
        """Whether it lies within the tolerance."""
        return self.by is not None and abs(self.by) <= self.seen.tolerance * (1 + 1e-9)


def number(text: str) -> float | None:
    """Read the first number of a table's cell.

    Args:
        text: "-64.9%", "730,000", "4.3*".
    Returns:
        -64.9, 730000.0, 4.3; None where there is none.
    """
    found = _NUMBER.search(text.replace("−", "-"))
    return float(found[0].replace(",", "")) if found else None


def boxes(book: Any, lesson: str) -> list[Seen]:
    """Read the numbers of a lesson's boxes.

    Args:
        book: a notebook, read by nbformat.
        lesson: "03".
    Returns:
        In the order of the text.
    """
    return [
        one
        for cell in book.cells
        if cell.cell_type == "markdown"
        for box in _BOX.findall(cell.source)
        for one in _numbers(box, lesson)
    ]


def shown(book: Any) -> dict[tuple[str, str, str], str]:
    """Read every table of an executed lesson.

    Args:
        book: with its outputs.
    Returns:
        Name of the code cell, row and column to what stands there.
    """
    found: dict[tuple[str, str, str], str] = {}
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        name = cell.source.partition("\n")[0].lstrip("# ")
        for output in cell.outputs:
            markup = output.get("data", {}).get("text/html", "")
            found |= {(name, *place): value for place, value in _table(markup).items()}
    return found


def compare(wanted: Iterable[Seen], found: Numbers) -> list[Moved]:
    """Put the numbers of boxes beside those of another run.

    Args:
        wanted: of the boxes.
        found: of the run, as `shown` reads them.
    Returns:
        One for each number of a box.
    """
    return [Moved(one, number(found.get((one.cell, one.row, one.column), ""))) for one in wanted]


def as_table(moved: Sequence[Moved]) -> str:
    """Lay out what has moved.

    Args:
        moved: as `compare` finds it.
    Returns:
        A table in Markdown; what lies outside its tolerance is bold.
    """
    lines = [_COLUMNS, tuple("---" for _ in _COLUMNS)]
    for one in moved:
        by = "is gone" if one.by is None else f"{one.by:+.3g}" if one.by else "0"
        own = one.seen
        said = by if one.holds else f"**{by}**"
        lines.append((own.lesson, own.cell, own.name, own.value, f"{own.tolerance:g}", said))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rewritten(source: str, found: Numbers) -> str:
    """Put a run's numbers into the boxes of a text; tolerances stay.

    Args:
        source: of a Markdown cell.
        found: as `shown` reads it.
    Returns:
        The text; a number that the run does not show stays as it was.
    """

    def box(old: re.Match[str]) -> str:
        return "\n".join(_rewritten(old[0].splitlines(), found))

    return _BOX.sub(box, source)


def _numbers(box: str, lesson: str) -> Iterator[Seen]:
    for _, cell, row, column, value, tolerance in _places(box.splitlines()):
        yield Seen(lesson, cell, row, column, value, float(tolerance))


def _places(lines: Sequence[str]) -> Iterator[tuple[tuple[int, int], str, str, str, str, str]]:
    """Line and column of each number of a box, what it is, its value and its tolerance."""
    head: list[str] = []
    for at, line in enumerate(lines):
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not head:
            head = cells
        elif set(line) - set("|-: "):
            for k, text in enumerate(cells[1:], 1):
                value, mark, tolerance = text.partition("±")
                if mark:
                    row = html.unescape(cells[0])
                    column = html.unescape(head[k])
                    yield (at, k), head[0].strip("*"), row, column, value.strip(), tolerance.strip()


def _rewritten(lines: list[str], found: Numbers) -> list[str]:
    for (at, k), cell, row, column, _, tolerance in [*_places(lines)]:
        new = found.get((cell, row, column), "").strip()
        if new:
            cells = lines[at].strip().strip("|").split("|")
            cells[k] = f" {new} ± {tolerance} "
            lines[at] = f"|{'|'.join(cells)}|"
    return lines


def _table(markup: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for table in markup.split("<table")[1:]:
        head: list[str] = []
        for row in _TABLE_ROW.findall(table):
            kinds = _TABLE_CELL.findall(row)
            cells = [html.unescape(text) for _, text in kinds]
            if all(kind == "th" for kind, _ in kinds):
                head = cells
                continue
            for k, text in enumerate(cells[1:], 1):
                found[cells[0], head[k] if head else ""] = text
    return found


def main(arguments: Sequence[str]) -> None:
    """Compare executed lessons with the boxes, or bring boxes and docs up to date.

    Args:
        arguments: the folder of executed lessons, and options.
    Raises:
        SettingsError: no such folder, or no executed lesson in it.
    """
    import nbformat

    from workbench.notebook.lessons import lessons

    done, every = Path(next(iter(arguments), "runs-lessons")), []
    if not any(done.glob("[0-9][0-9]/[0-9][0-9].ipynb")):
        raise SettingsError(
            f"DONE must be a folder of executed lessons, such as 03/03.ipynb, got {str(done)!r}; "
            "`python -m workbench.notebook.pages 03` runs one and leaves it in runs-lessons"
        )
    for one in lessons():
        executed = done / one.number / f"{one.number}.ipynb"  # where `pages.execute` leaves it
        if not executed.is_file():
            continue
        written = ROOT / "tutorials" / one.file
        found = shown(nbformat.read(executed, as_version=4))
        book = nbformat.read(written, as_version=4)
        every += compare(boxes(book, one.number), found)
        if "--boxes" in arguments:
            for cell in book.cells:
                if cell.cell_type == "markdown":
                    cell.source = rewritten(cell.source, found)
            store.write_text(written, nbformat.writes(book) + "\n")
    print(as_table(every))  # noqa: T201
    if "--course" in arguments:
        before, _, rest = COURSE.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        store.write_text(COURSE, f"{before}{BEGIN}\n{as_table(every)}\n{END}{after}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        raise SystemExit(f"Error: {error}") from None
