"""One address: what the first cell installs, and where the badges lead."""

import re
import shutil
from pathlib import Path

import pytest

from notebooks import reading
from workbench.notebook.address import address, badges, fill_in, with_badges
from workbench.settings import SettingsError

PLACE = "git+https://github.com/ann/lora"
PATH = "tutorials/03_noise.ipynb"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("tutorials", "notebooks"):
        shutil.copytree(reading.ROOT / folder, tmp_path / folder)
    return tmp_path


def test_badges_lead_to_the_notebook():
    links = re.findall(r"\]\((https:[^)]+)\)(?= |$)", badges(PLACE, PATH))
    assert links == [
        "https://colab.research.google.com/github/ann/lora/blob/main/tutorials/03_noise.ipynb",
        "https://kaggle.com/kernels/welcome?src="
        "https://github.com/ann/lora/blob/main/tutorials/03_noise.ipynb",
    ]


def test_without_an_address_there_is_no_badge():
    assert badges("", PATH) == ""


@pytest.mark.parametrize("path", reading.EVERY, ids=lambda path: path.stem)
def test_the_badges_of_a_notebook_are_those_of_its_address(path: Path):
    book = reading.read(path)
    where = path.relative_to(reading.ROOT).as_posix()
    wanted = badges(address(reading.code_cells(path)[0].source), where)
    assert with_badges(book.cells[0].source, wanted) == book.cells[0].source
    assert "Open in" not in book.cells[0].source or wanted


@pytest.mark.parametrize(
    "spelt", ["github.com/ann/lora", "https://github.com/ann/lora.git", PLACE, PLACE + "/"]
)
def test_an_address_is_filled_in_everywhere_and_taken_away(copy: Path, spelt: str):
    before = {path: path.read_text() for path in copy.glob("*/*.ipynb")}
    assert len(fill_in(spelt, copy)) == len(before) == len(reading.EVERY)
    for path in before:
        text = path.read_text()
        assert f'ADDRESS = \\"{PLACE}\\"' in text
        assert f"/blob/main/{path.relative_to(copy).as_posix()})" in text
    fill_in("", copy)
    assert {path: path.read_text() for path in before} == before


def test_an_address_elsewhere_is_refused(copy: Path):
    with pytest.raises(SettingsError, match=r"github\.com/OWNER/NAME, got 'example\.org/x'"):
        fill_in("example.org/x", copy)
