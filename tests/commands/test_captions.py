"""`caption` and `check --batches` as a user meets them."""

from pathlib import Path

import pytest
from PIL import Image
from tiny_recipes import tiny_recipe, write_photos

from workbench import cli
from workbench.critters import world


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for number, text in enumerate(("hat, red, round", "hat, red", "blue")):
        Image.new("RGB", (64, 64), (60 * number, 0, 0)).save(path / f"{number}.png")
        (path / f"{number}.txt").write_text(text)
    return path


def texts(folder: Path) -> list[str]:
    return [path.read_text().strip() for path in sorted(folder.glob("*.txt"))]


def test_tags_with_their_shares_and_pairs(folder: Path, capsys):
    assert run("caption", str(folder), "--pairs", "captions.caption_dropout=0.1") == 0
    output = capsys.readouterr().out
    lines = [line.split() for line in output.splitlines()]
    assert ["hat", "2", "67%"] in lines and ["blue", "1", "33%"] in lines
    assert ["hat", "+", "red", "2", "100%"] in lines
    assert "its trigger is dropped too" in output


def test_edits_are_kept_and_undone(folder: Path, capsys):
    before = texts(folder)
    edit = ("--merge", "red,round=ruby", "--add", "end", "--trigger", "zib")
    assert run("caption", str(folder), *edit) == 0
    assert texts(folder) == before and "3 of 3 captions would change" in capsys.readouterr().out
    assert run("caption", str(folder), *edit, "--write") == 0
    assert texts(folder) == ["zib, hat, ruby, end", "zib, hat, ruby, end", "zib, blue, end"]
    assert "--undo puts it back" in capsys.readouterr().out
    assert run("caption", str(folder), "--undo") == 0
    assert texts(folder) == before and "3 captions are as they were" in capsys.readouterr().out
    assert run("caption", str(folder), "--undo") == 2
    assert "no edit of these captions was kept" in capsys.readouterr().err


def test_tag_dropout_over_sentences_is_warned_of(folder: Path, capsys):
    for number in range(2):
        (folder / f"{number}.txt").write_text("a red hat on a table, in the evening light")
    assert run("caption", str(folder), "captions.tag_dropout=0.3") == 0
    assert "67% of the captions are sentences: captions.tag_dropout" in capsys.readouterr().out
    assert run("caption", str(folder)) == 0
    assert "sentences" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--model", "x"], "--model is for a model that reads the pictures: give --tagger too"),
        (["--threshold", "0.5"], "--threshold is for a model"),
        (["--tagger", "critters", "--remove", "a"], "goes with --trigger and --exclude alone"),
        (["--merge", "a,=c"], "--merge must have the form A,B=C, got 'a,=c'"),
        (["--add", ""], "--add must be a word on one line, got ''"),
        (["--tagger", "critters", "--threshold", "2"], "tagger.threshold must be in [0, 1]"),
        (["--tagger", "critters", "--prompt", "x"], "prompt"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder: Path, capsys, arguments, problem):
    assert run("caption", str(folder), *arguments) == 2
    assert problem in capsys.readouterr().err


def test_the_embedded_tagger_fills_in_missing_captions(tmp_path: Path, capsys):
    folder = tmp_path / "critters"
    folder.mkdir()
    for number in range(3):
        image, _ = world(4243, number, ((128, 128),))
        image.save(folder / f"{number}.png")
    (folder / "0.txt").write_text("mine")
    options = ("--tagger", "critters", "--threshold", "0", "--trigger", "mochi")
    assert run("caption", str(folder), *options) == 0
    assert "2 of 2 captions would change; --write does it." in capsys.readouterr().out
    assert texts(folder) == ["mine"]
    assert run("caption", str(folder), *options, "--write") == 0
    mine, first, second = texts(folder)
    assert mine == "mine" and first.startswith("mochi, ") and len(second.split(", ")) == 1 + 9
    excluded = first.split(", ")[1]
    again = ("--mode", "replace", "--exclude", excluded, "--write")
    assert run("caption", str(folder), *options, *again) == 0
    assert texts(folder)[0].startswith("mochi, ") and excluded not in texts(folder)[1].split(", ")
    assert run("caption", str(folder), "--undo") == 0
    assert texts(folder) == [mine, first, second]


def test_check_shows_the_first_batches(tiny_sd: Path, tmp_path: Path, capsys):
    photos = write_photos(tmp_path / "photos")
    recipe = tiny_recipe(tiny_sd, photos, tmp_path / "runs", "data.captions.caption_dropout=0.3")
    Path("tiny.toml").write_text(recipe.to_toml())
    assert run("check", "tiny.toml", "--batches", "3", "checks.allow=[]") == 0
    output = capsys.readouterr().out
    assert "captions do not change: 8 texts are encoded once" in output
    assert output.splitlines()[-1] == "tiny-batches.html"
    page = Path("tiny-batches.html").read_text()
    assert page.count("<figure>") == output.count(".png")
    assert not (tmp_path / "runs").exists()  # nothing was trained
