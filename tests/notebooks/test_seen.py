"""Boxes of a full run's numbers: read, compared, written anew; and every experiment has one."""

from typing import Any

import nbformat
import pytest

from workbench import notebook as nb
from workbench.notebook import seen
from workbench.settings import SettingsError

BOX = """Some text.

<details><summary>What a full run showed</summary>

| *Measured* | stable loss | alike |
|---|---|---|
| lion | -55.0% ± 3 | 0.43 ± 0.05 |
| base | | 0.108 ± 0.02 |

Lion is slower.

</details>

| *Measured* | no box |
|---|---|
| x | 1 ± 1 |
"""


def _book(**rows: dict[str, Any]) -> Any:
    cell = nbformat.v4.new_code_cell("# Measured\nnb.table(rows)")
    shown = nb.table(rows).markup
    cell.outputs = [nbformat.v4.new_output("display_data", data={"text/html": shown})]
    book = nbformat.v4.new_notebook()
    book.cells = [cell, nbformat.v4.new_markdown_cell(BOX)]
    return book


@pytest.fixture
def book() -> Any:
    return _book(
        lion={"stable loss": "-56.5%", "alike": 0.4899}, base={"stable loss": None, "alike": 0.11}
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [("-64.9%", -64.9), ("730,000", 730000), ("4.3*", 4.3), ("−2 to 3", -2), ("2e-05", 2e-5)],
)
def test_the_number_of_a_cell(text, value):
    assert seen.number(text) == value


def test_a_cell_without_a_number():
    assert seen.number("True") is None


def test_the_numbers_of_a_box(book):
    found = seen.boxes(book, "06")
    assert [(one.name, one.value, one.tolerance) for one in found] == [
        ("lion, stable loss", "-55.0%", 3),
        ("lion, alike", "0.43", 0.05),
        ("base, alike", "0.108", 0.02),
    ]
    assert {one.cell for one in found} == {"Measured"} and found[0].lesson == "06"


def test_what_moved_beyond_its_tolerance_is_found(book):
    loss, alike, base = seen.compare(seen.boxes(book, "06"), seen.shown(book))
    assert loss.by == pytest.approx(-1.5) and loss.holds
    assert alike.by == pytest.approx(0.06) and not alike.holds
    assert base.by == pytest.approx(0.002) and base.holds
    table = seen.as_table([loss, alike]).splitlines()
    assert table[2] == "| 06 | Measured | lion, stable loss | -55.0% | 3 | -1.5 |"
    assert table[3] == "| 06 | Measured | lion, alike | 0.43 | 0.05 | **+0.06** |"


def test_a_number_that_is_gone_does_not_hold(book):
    [gone] = [one for one in seen.compare(seen.boxes(book, "06"), {}) if one.seen.row == "base"]
    assert gone.by is None and not gone.holds
    assert "**is gone**" in seen.as_table([gone])


def test_new_numbers_keep_tolerance_and_text(book):
    text = seen.rewritten(BOX, seen.shown(book))
    assert "| lion | -56.5% ± 3 | 0.49 ± 0.05 |" in text and "| base | | 0.11 ± 0.02 |" in text
    assert text.count("±") == BOX.count("±") and "Lion is slower." in text
    assert text.endswith("| x | 1 ± 1 |\n"), "what is no box is left alone"


def test_a_table_without_heads_has_a_column_without_a_name():
    cell = nbformat.v4.new_code_cell("# One\n1")
    shown = nb.table({"d": {"": 0.5}}).markup
    cell.outputs = [nbformat.v4.new_output("display_data", data={"text/html": shown})]
    book = nbformat.v4.new_notebook(cells=[cell])
    assert seen.shown(book) == {("One", "d", ""): "0.5"}


def test_a_folder_without_lessons_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"DONE must be a folder of executed lessons.*pages 03"):
        seen.main([str(tmp_path)])
