"""Every notebook from top to bottom, in tiny mode, with the right answers in their cells."""

import copy
import os
from pathlib import Path
from typing import Any

import pace
import pytest

from notebooks import reading

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(900)]
LIMIT_S = 60  # of processor time: what else a machine does, or waits for, is no lesson's fault


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, a new learner, experiments cut short."""
    monkeypatch.setenv("WORKBENCH_TINY", "1")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(reading.ROOT))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def _client(book: Any, place: Path) -> Any:
    where = {"metadata": {"path": str(place)}}
    client = nbclient.NotebookClient(book, timeout=600, kernel_name="python3", resources=where)
    # It would answer widgets as a page does while their cell still runs; on a busy machine a reply
    # got lost now and then, and it waited on. What controls do is tested in a browser.
    client.comm_open_handlers.clear()
    return client


def _mistakes(path: Path) -> list[tuple[Any, str]]:
    """Cells that give a planted wrong answer and check it, each with the property that fails.

    Where the check needs what the lesson measured, a tiny lesson's numbers decide nothing, and
    `test_exercises` plants the mistakes.
    """
    checks = {
        name: next(c.source for c in reading.code_cells(path) if f'nb.check("{name}"' in c.source)
        for name in reading.answers(path.name[:2])
    }
    return [
        (nbformat.v4.new_code_cell(f"{source}\n{checks[name]}"), sentence)
        for name, known in reading.answers(path.name[:2]).items()
        if "facts" not in known
        for source, sentence in known["wrong"].values()
    ]


def _seconds_of_children() -> float:
    """Processor time of the processes that this one started and that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def _said(cell: Any) -> str:
    """Everything that a cell shows, as text."""
    shown = [
        out.get("data", {}).get("text/plain", "") + out.get("text", "") for out in cell.outputs
    ]
    return "\n".join(shown)


@pytest.mark.parametrize("path", reading.EVERY, ids=lambda path: path.stem)
def test_it_runs_to_its_end(path: Path, place: Path):
    book, mistakes = reading.answered(path), _mistakes(path)
    written = list(book.cells)
    book.cells += [cell for cell, _ in mistakes]
    before = _seconds_of_children()
    _client(book, place).execute()
    seconds = _seconds_of_children() - before
    said = "\n".join(_said(cell) for cell in written if cell.cell_type == "code")
    if path in reading.TUTORIALS:
        for name in reading.answers(path.name[:2]):
            assert f"Passed: {name}" in said
        for cell, sentence in mistakes:
            assert f"✗ {sentence}" in _said(cell) and "Passed" not in _said(cell)
    silent = [
        reading.first_line(cell)
        for cell in written
        if cell.cell_type == "code"
        and not cell.outputs
        and "answer" not in cell.metadata.get("tags", ())
    ]
    assert silent == [], "every cell ends in a picture or a number"
    assert seconds <= LIMIT_S * pace.slower(), f"{path.name} took {seconds:.0f} s"


def test_without_widgets_a_lesson_shows_static_pictures(place, monkeypatch):
    monkeypatch.setenv("WORKBENCH_WIDGETS", "0")
    [path] = [path for path in reading.TUTORIALS if path.name.startswith("02")]
    book = reading.answered(path)
    _client(book, place).execute()
    kinds = {
        kind
        for cell in book.cells
        if cell.cell_type == "code"
        for out in cell.outputs
        for kind in out.get("data", {})
    }
    assert "text/html" in kinds
    assert not any("widget" in kind for kind in kinds)


@pytest.mark.parametrize("path", reading.TUTORIALS, ids=lambda path: path.stem)
def test_a_cell_out_of_order_names_the_missing_one(path: Path, place: Path):
    wanted = reading.passed_on(path)
    name, maker = next(iter(wanted.items()))
    book = copy.deepcopy(reading.read(path))
    first = next(cell for cell in book.cells if cell.cell_type == "code")
    needing = copy.deepcopy(first)
    needing.source = f"# Elsewhere\n{name}"
    book.cells = [first, needing]
    with pytest.raises(nbclient.exceptions.CellExecutionError) as caught:
        _client(book, place).execute()
    assert f"the cell '{maker.lstrip('# ')}' makes it" in str(caught.value)
