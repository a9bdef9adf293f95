"""All lessons whole, for hours: what their boxes say is what they show, within the tolerance."""

import os
from pathlib import Path

import pytest

from notebooks import reading
from workbench.notebook import pages, seen

pytest.importorskip("nbclient")
pytestmark = [pytest.mark.full, pytest.mark.timeout(4 * 3600)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where lessons run; WORKBENCH_LESSONS names one in which done runs are not done again."""
    monkeypatch.delenv("WORKBENCH_TINY", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(reading.ROOT))
    return Path(os.environ.get("WORKBENCH_LESSONS", tmp_path))


@pytest.mark.parametrize("path", reading.TUTORIALS, ids=lambda path: path.stem)
def test_a_whole_lesson_shows_what_its_boxes_say(
    path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
):
    number = path.name[:2]
    book = pages.execute(number, folder / number)
    moved = seen.compare(seen.boxes(reading.read(path), number), seen.shown(book))
    with capsys.disabled():
        print(f"\n{seen.as_table(moved)}")  # noqa: T201
    errors = [
        f"{cell.source.partition(chr(10))[0]}: {out.ename}"
        for cell in book.cells
        if cell.cell_type == "code"
        for out in cell.outputs
        if out.output_type == "error"
    ]
    assert errors == []
    assert [f"{one.seen.cell}: {one.seen.name}" for one in moved if not one.holds] == []
