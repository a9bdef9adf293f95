"""How notebooks are written: no output, short cells, links that lead somewhere, names explained."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from notebooks import reading
from workbench.notebook import lessons

pytest.importorskip("nbformat")
MAX_LINES = 15
FIRST_CELL_LINES = 20  # the same in every notebook
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_KEYS = ("kernelspec", "language_info")


def _id(path: Path) -> str:
    return path.stem


every_notebook = pytest.mark.parametrize("path", reading.EVERY, ids=_id)


def test_every_lesson_has_its_notebook_and_every_notebook_its_lesson():
    assert [lesson.file for lesson in lessons.lessons()] == [p.name for p in reading.TUTORIALS]


@every_notebook
def test_no_output_is_stored(path: Path):
    book = reading.read(path)
    assert set(book.metadata) <= set(_KEYS), "no widget state, no machine's own metadata"
    for cell in reading.code_cells(path):
        assert cell.outputs == [] and cell.execution_count is None
        assert set(cell.metadata) <= {"tags"}


@every_notebook
def test_cells_are_short_and_named(path: Path):
    cells = reading.code_cells(path)
    # A tool's first cell ends in the list of its names, which explains missing ones.
    written = {reading.first_line(c): c.source.partition("nb.work(")[0] for c in cells}
    long = {name: len(source.splitlines()) for name, source in written.items()}
    most = {reading.first_line(cells[0]): FIRST_CELL_LINES}
    assert {n: lines for n, lines in long.items() if lines > most.get(n, MAX_LINES)} == {}
    names = [reading.first_line(cell) for cell in cells]
    assert all(re.match(r"# \w", name) for name in names), "a cell's first line says what it does"
    assert len(set(names)) == len(names), "two cells of one name"


@every_notebook
def test_prose_stands_before_every_cell(path: Path):
    kinds = [cell.cell_type for cell in reading.read(path).cells]
    text = "".join("m" if kind == "markdown" else "c" for kind in kinds)
    assert text.startswith("m")
    assert "cccc" not in text, "four cells in a row without a word"


@every_notebook
def test_the_first_cell_is_the_same_everywhere(path: Path):
    def installs(one: Path) -> str:
        return reading.code_cells(one)[0].source.partition("from workbench import notebook")[0]

    assert installs(path) == installs(reading.EVERY[0])


@every_notebook
def test_links_lead_somewhere(path: Path):
    text = "\n".join(c.source for c in reading.read(path).cells if c.cell_type == "markdown")
    links = _LINK.findall(text)
    near = [link.partition("#")[0] for link in links if not link.startswith("https://")]
    assert [link for link in near if not (path.parent / link).is_file()] == []
    assert near, "a notebook says what to read next"


@pytest.mark.parametrize("path", reading.TUTORIALS, ids=_id)
def test_every_lesson_says_what_to_expect_of_the_large_models(path: Path):
    text = "\n".join(c.source for c in reading.read(path).cells if c.cell_type == "markdown")
    assert all(name in text for name in ("critters", "SD1.5", "SDXL"))
    assert "https://" in text, "with a source"


@pytest.mark.parametrize("path", reading.TUTORIALS, ids=_id)
def test_a_lesson_knows_which_cell_makes_what(path: Path):
    assert dict(lessons.lesson(path.name[:2]).cells) == reading.passed_on(path)


@pytest.mark.parametrize("path", reading.TOOLS, ids=_id)
def test_a_tool_knows_which_cell_makes_what(path: Path):
    assert reading.declared(path) == reading.passed_on(path)


@pytest.mark.parametrize("path", reading.TUTORIALS, ids=_id)
def test_every_exercise_is_asked_and_checked(path: Path):
    lesson = lessons.lesson(path.name[:2])
    source = "\n".join(cell.source for cell in reading.code_cells(path))
    asked = re.findall(r'nb\.check\(\s*"([\w.]+)"', source)
    assert sorted(asked) == sorted(one.name for one in lesson.exercises)
    assert lesson.exercises
    assert source.rstrip().endswith("lesson.end()")


@pytest.mark.parametrize(
    ("near", "setting", "wanted"),
    [
        ("../workbench", None, ".."),
        ("./lora-workbench/workbench", None, "./lora-workbench"),
        ("../workbench", "git+https://example.org/x", "git+https://example.org/x"),
    ],
)
def test_the_first_cell_finds_the_project(tmp_path, monkeypatch, near, setting, wanted):
    place = tmp_path / "tutorials"
    place.mkdir()
    (place / near).mkdir(parents=True)
    assert _first_cell(place, monkeypatch, setting=setting)[0][4:] == [
        "--quiet",
        "--no-deps",
        wanted,
    ]


def test_the_first_cell_says_what_to_do_where_there_is_no_project(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"git clone .* lora-workbench.*run|Run `!git clone"):
        _first_cell(tmp_path, monkeypatch, setting=None)


def _first_cell(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, setting: str | None
) -> list[list[str]]:
    """Run it where the package is not installed, without its last lines; what it tells pip."""
    cell = reading.code_cells(reading.TUTORIALS[0])[0].source.partition("from workbench")[0]
    commands: list[list[str]] = []

    def run(args: list[str]) -> subprocess.CompletedProcess[bytes]:
        commands.append(args)
        return subprocess.CompletedProcess(args, 0)

    monkeypatch.chdir(place)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.delenv("WORKBENCH_SOURCE", raising=False)
    if setting:
        monkeypatch.setenv("WORKBENCH_SOURCE", setting)
    exec(cell, {})
    return commands
