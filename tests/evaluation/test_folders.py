"""Two folders of pictures made anywhere: paired by name, their faults named, the rest answered."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from workbench.critters.draw import world
from workbench.evaluation.folders import compare_folders, pair_up
from workbench.settings import SettingsError
from workbench.store import FileRefused


def write(folder: Path, name: str, image: Image.Image, prompt: str = "") -> None:
    folder.mkdir(exist_ok=True)
    notes = PngInfo()
    if prompt:
        notes.add_text("parameters", f"{prompt}\nSteps: 20, Seed: 1")
    image.save(folder / name, pnginfo=notes)


def warmer(image: Image.Image) -> Image.Image:
    red, green, blue = image.split()
    return Image.merge("RGB", (red.point(lambda v: min(255, v + 30)), green, blue))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Nine critters by two programs, the second one warmer; prompts in the PNG of the first."""
    for number in range(9):
        image, text = world(1, number, sizes=((128, 128),))
        write(tmp_path / "one", f"{number}.png", image, text)
        write(tmp_path / "two", f"{number}.png", warmer(image))
    return tmp_path / "one", tmp_path / "two"


def test_pairs_carry_the_prompt_of_either_side(folders: tuple[Path, Path]) -> None:
    found = pair_up(*folders)
    assert len(found.pairs) == 9 and found.has_prompts and found.notes == ()
    assert found.pairs[0].prompt == world(1, 0)[1]


def test_a_colour_cast_is_seen_and_what_was_not_asked_stays_out(
    folders: tuple[Path, Path],
) -> None:
    page, judged = compare_folders(*folders, judge="critters")
    replies = {one.question: one.reply for one in judged.answers}
    assert (replies["colours"], replies["learn"], replies["leak"]) == (
        "yes", "not measured", "not measured",
    )  # fmt: skip
    assert replies["follow"] == "no", "the cast changes the colours that prompts name"
    assert (
        judged.sentence.startswith("two against one; it ") and "shifts colours" in judged.sentence
    )
    assert "learning" not in judged.sentence and "leak" not in judged.sentence
    assert judged.answer("look like").note == "give the concept's pictures: --training FOLDER"
    assert page == folders[1] / "report.html"
    text = page.read_text(encoding="utf-8")
    assert (
        ">one</span>" in text and "LoRA" not in text.partition("<footer>")[0].split("</title>")[1]
    )
    rows = list(csv.DictReader(page.with_suffix(".csv").open()))
    a_star = next(row for row in rows if row["measure"].startswith("a*"))
    assert a_star["role"] == "confirmatory" and float(a_star["low"]) > 2


def test_likeness_to_pictures_of_a_concept(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, judged = compare_folders(
        *folders, judge="critters", training=folders[0], out=tmp_path / "x.html"
    )
    answer = judged.answer("look like")
    assert answer.reply != "not measured" and answer.n == 9


def test_without_a_judge_colours_are_still_answered(folders: tuple[Path, Path]) -> None:
    _, judged = compare_folders(*folders)
    assert judged.answer("colours").reply == "yes"
    assert "--judge" in judged.answer("follow").note


def test_two_sizes_and_lonely_pictures_are_named(folders: tuple[Path, Path]) -> None:
    write(folders[1], "0.png", Image.new("RGB", (64, 64), "red"))
    write(folders[0], "alone.png", Image.new("RGB", (64, 64)))
    first, second = pair_up(*folders).notes
    assert first.message == "1 pictures lie in one folder only: alone"
    assert second.message.startswith("1 pairs have two sizes") and second.fix
    assert np.asarray(pair_up(*folders).pairs[0].trained).shape == (128, 128, 3)


def test_folders_that_cannot_be_compared(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write(tmp_path / "other", "x.png", Image.new("RGB", (8, 8)))
    with pytest.raises(FileRefused, match=r"share no name \(9 and 1 pictures\); call the"):
        pair_up(folders[0], tmp_path / "other")
    with pytest.raises(FileRefused, match="no folder of pictures"):
        pair_up(folders[0], tmp_path / "missing")
    with pytest.raises(SettingsError, match="needs two folders"):
        compare_folders(folders[0], folders[0])
