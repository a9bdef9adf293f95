"""docs/course.md: cells that exist, and the numbers of the boxes; every experiment has its box."""

import re

import pytest

from notebooks import reading
from workbench.notebook import seen

TEXT = (reading.ROOT / "docs" / "course.md").read_text(encoding="utf-8")
_TRAINS = re.compile(r"\bnb\.train(?:_all)?\(")
_NAMES = re.compile(r"\b(0\d)\b|(?<!\*)\*([^*|]+)\*(?!\*)")


def _lessons() -> dict[str, set[str]]:
    """Number to the names of its code cells."""
    return {
        path.name[:2]: {reading.first_line(c).lstrip("# ") for c in reading.code_cells(path)}
        for path in reading.TUTORIALS
    }


def test_every_lesson_is_in_the_list():
    listed = re.findall(r"^\| \[\d\d\]\(\.\./tutorials/([^)]+)\)", TEXT, re.MULTILINE)
    assert listed == [path.name for path in reading.TUTORIALS]


def test_the_cells_that_topics_lead_to_exist():
    topics = TEXT.partition("## Where the topics")[2].partition("## What a full run")[0]
    lessons, led = _lessons(), 0
    for line in topics.splitlines():
        if not line.startswith("|"):
            continue
        lesson = ""
        for number, cell in _NAMES.findall(line.strip("|").rpartition("|")[2]):
            if number:
                lesson = number
                assert lesson in lessons, line
            else:
                assert cell in lessons[lesson], f"{lesson} has no cell {cell!r}"
                led += 1
    assert led > 50


def test_the_table_holds_the_numbers_of_the_boxes():
    found = TEXT.partition(seen.BEGIN)[2].partition(seen.END)[0]
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|")[:5])
        for line in found.splitlines()
        if re.match(r"\| \d\d ", line)
    ]
    wanted = [
        (one.lesson, one.cell, one.name, one.value, f"{one.tolerance:g}")
        for path in reading.TUTORIALS
        for one in seen.boxes(reading.read(path), path.name[:2])
    ]
    assert rows == wanted
    assert "**" not in found, "what moved beyond its tolerance needs a new text"


@pytest.mark.parametrize("path", reading.TUTORIALS, ids=lambda path: path.stem)
def test_a_box_repeats_a_cell_above_it(path):
    above: set[str] = set()
    for cell in reading.read(path).cells:
        if cell.cell_type == "code":
            above.add(reading.first_line(cell).lstrip("# "))
            continue
        one = type("Book", (), {"cells": [cell]})
        assert {box.cell for box in seen.boxes(one, "")} <= above
        assert cell.source.count("<details>") == cell.source.count("</details>")
