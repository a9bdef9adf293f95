"""The commands on a folder of images: check, new, caption, buckets; and those that need none."""

import os
import sys
from pathlib import Path

import pytest
from commanding import run
from PIL import Image

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "my images"
    home.mkdir()
    for index, size in enumerate([(640, 512), (512, 640), (700, 700)]):
        Image.new("RGB", size, (index * 80, 90, 120)).save(home / f"{index}.png")
        (home / f"{index}.txt").write_text(f"tag {index}, common, red hat")
    (home / "broken.png").write_bytes(b"no picture")
    return home


def test_check_names_pitfalls_and_the_way_round_them(capsys):
    slow = ["optimizer.kind=prodigy", "optimizer.learning_rate=1e-4"]
    assert run("check", "critters", *slow) == 2
    output = capsys.readouterr().out
    assert "refuse [prodigy_rate]" in output
    assert "fix: set optimizer.learning_rate=1" in output
    assert run("check", "critters", *slow, "checks.allow=prodigy_rate") == 0
    assert "refuse (allowed) [prodigy_rate]" in capsys.readouterr().out


def test_new_says_that_the_images_are_not_there(capsys):
    assert run("new", "mine", "--data", "nowhere") == 0
    assert "nowhere does not exist yet" in capsys.readouterr().out


def test_convert_overwrites_nothing(tmp_path: Path, capsys):
    (tmp_path / "mine.safetensors").write_bytes(b"trained for hours")
    assert run("convert", "mine.safetensors", "mine.safetensors", "--to", "peft") == 2
    assert capsys.readouterr().err == "mine.safetensors exists; name a new file\n"
    assert (tmp_path / "mine.safetensors").read_bytes() == b"trained for hours"


def test_new_writes_a_recipe_that_loads(folder: Path, capsys):
    assert run("new", "mine", "--data", str(folder), "--trigger", "zib") == 0
    assert "mine.toml" in capsys.readouterr().out
    from workbench.recipe import Recipe

    recipe = Recipe.load("mine.toml")
    assert (recipe.name, recipe.base.path) == ("mine", "critters")
    assert (recipe.data.subsets[0].path, recipe.data.subsets[0].trigger) == (str(folder), "zib")
    assert run("new", "mine", "--data", str(folder)) == 2, "an existing recipe is not overwritten"


def test_new_for_another_base_brings_no_critters_along(folder: Path):
    base = ("--base", "somewhere/model", "--preset", "critters")
    assert run("new", "mine", "--data", str(folder), *base) == 0
    from workbench.recipe import Recipe

    assert [subset.path for subset in Recipe.load("mine.toml").data.subsets] == [str(folder)]


def test_caption_counts_tags_and_shows_draws(folder: Path, capsys):
    assert run("caption", str(folder), "captions.tag_dropout=0.5") == 0
    output = capsys.readouterr().out
    assert "5 tags in 3 images, 0 of them without a caption" in output
    assert "set aside: broken.png" in output
    assert "share of 200 draws" in output


def test_caption_edits_only_when_told_to(folder: Path, capsys):
    edit = ["--trigger", "zib", "--rename", "red hat=hat", "--remove", "common"]
    assert run("caption", str(folder), *edit) == 0
    assert "3 of 3 captions would change" in capsys.readouterr().out
    assert (folder / "0.txt").read_text() == "tag 0, common, red hat"
    assert run("caption", str(folder), *edit, "--write") == 0
    assert (folder / "0.txt").read_text() == "zib, tag 0, hat\n"


@pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
def test_names_and_captions_cannot_command_the_terminal(folder: Path, capsys):
    (folder / "0.png").rename(folder / "a\nb\x1b[2J.png")
    (folder / "1.txt").write_text("tag \x1b]0;title\x07 <script>")
    assert run("caption", str(folder)) == 0
    assert run("buckets", str(folder)) == 0
    assert run("caption", str(folder), "--trigger", "zib") == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output and "\x07" not in output
    assert "'a\\nb\\x1b[2J.png': zib" in output
    assert "\\x1b]0;title\\x07 <script>" in output


def test_buckets_account_for_every_file(folder: Path, capsys):
    assert run("buckets", str(folder), "--csv", "ledger.csv") == 0
    output = capsys.readouterr().out
    assert "512 x 512: 1 image\n" in output
    assert "set aside: broken.png" in output
    rows = Path("ledger.csv").read_text().splitlines()
    assert len(rows) == 1 + 4


def test_doctor_finds_this_machine_fit(capsys):
    assert run("doctor") == 0
    output = capsys.readouterr().out
    assert "This machine fits." in output
    assert f"python:         {sys.version_info.major}.{sys.version_info.minor}" in output


def test_runs_of_an_empty_folder(capsys):
    assert run("runs") == 0
    assert capsys.readouterr().out == "No runs in runs.\n"
