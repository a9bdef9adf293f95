"""Lessons as pages: what was executed, with pictures beside it and links that lead somewhere."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from notebooks import reading
from workbench import notebook as nb
from workbench.notebook import pages
from workbench.plots.curves import lines
from workbench.plots.inline import curve_svg
from workbench.plots.still import figure_svg
from workbench.settings import SettingsError

WRITTEN = sorted((reading.ROOT / "docs" / "lessons").glob("*.md"))
_SOURCE = re.compile(r'<img src="([^"]+)"')


def _cell(source: str, **data: str):
    cell = nbformat.v4.new_code_cell(source)
    cell.outputs = [nbformat.v4.new_output("display_data", data=data)] if data else []
    return cell


@pytest.fixture
def page(tmp_path: Path) -> str:
    picture = Image.new("RGB", (64, 64), "red")
    rows = nb.grid({"base": {"hat & bow": picture}, "trained": {"hat & bow": picture}})
    figure = lines([1, 2], {"a": [1.0, 2.0]}, title="T", y="y")
    book = nbformat.v4.new_notebook()
    book.cells = [
        nbformat.v4.new_markdown_cell("# 00 · Title\n\n[noise](../docs/noise.md)"),
        _cell("# First cell: installs\nimport os", **{"text/plain": "/home/me"}),
        _cell("# Pictures\nx = 1", **{"text/html": rows.markup, "text/plain": rows.text}),
        _cell("# Curve\ny = 1", **{"image/svg+xml": figure_svg(figure)}),
        _cell(
            "# Run\nr = 1",
            **{"text/html": f"<div>{curve_svg([1, 2], [0.5, 0.4], label='loss')}</div>"},
        ),
        _cell("# Numbers\nz = 1", **{"text/html": nb.table({"a": {"b": 0.5}}).markup}),
        _cell("# Your record\nlesson.end()", **{"text/plain": "/home/me/learner.json"}),
    ]
    return pages.Page("00", tmp_path).write(book, "00_first_lora.ipynb").read_text()


def test_pictures_lie_beside_the_page_once_each(page: str, tmp_path: Path):
    sources = _SOURCE.findall(page)
    names = ["00-01.webp", "00-01.webp", "00-02.svg", "00-03.svg"]
    assert sources == [f"images/{name}" for name in names]
    with Image.open(tmp_path / sources[0]) as image:
        assert image.format == "WEBP" and image.size == (64, 64)
    for drawing in sources[2:]:
        root = ET.fromstring((tmp_path / drawing).read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_rows_keep_their_names(page: str):
    assert "<p><b>base</b></p>" in page and "<p><b>trained</b></p>" in page
    assert "margin" not in page


def test_nothing_of_the_machine_or_of_styles_is_left(page: str):
    assert "/home/me" not in page and "style=" not in page and "base64" not in page
    assert "hat &amp; bow" in page and "<th>a</th><td>0.5</td>" in page


def test_links_lead_from_the_page(page: str):
    assert "[noise](../noise.md)" in page
    assert "(../../tutorials/00_first_lora.ipynb)" in page


def test_a_changed_text_needs_no_new_run_and_a_changed_cell_does():
    done, today = (nbformat.v4.new_notebook() for _ in range(2))
    done.cells = [nbformat.v4.new_markdown_cell("old"), _cell("# One\n1", **{"text/plain": "1"})]
    code = nbformat.v4.new_code_cell("# One\n1", id=done.cells[1].id)
    today.cells = [nbformat.v4.new_markdown_cell("new"), code]
    made = pages.refreshed(done, today)
    assert [cell.source for cell in made.cells] == ["new", "# One\n1"]
    assert made.cells[1].outputs[0].data == {"text/plain": "1"}
    code.source = "# One\n2"
    with pytest.raises(SettingsError, match="the cell 'One' is not the one that was executed"):
        pages.refreshed(done, today)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_a_written_page_shows_its_pictures_and_is_light(path: Path):
    text = path.read_text(encoding="utf-8")
    sources = set(_SOURCE.findall(text))
    assert sources and all((path.parent / one).is_file() for one in sources)
    weight = len(text) + sum((path.parent / one).stat().st_size for one in sources)
    assert weight < 2_000_000
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    assert [one for one in targets if not (path.parent / one).is_file()] == []
    assert "Error:" not in text and "/tmp/" not in text


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_a_written_page_says_what_the_lesson_says(path: Path):
    """The prose of a page is that of today's notebook: run `workbench.notebook.pages` again."""
    book = next(one for one in reading.TUTORIALS if one.name.startswith(path.stem))
    text = path.read_text(encoding="utf-8")
    for cell in reading.read(book).cells:
        if cell.cell_type == "markdown":
            assert pages.prose(cell.source) in text
