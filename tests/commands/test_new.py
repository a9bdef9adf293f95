"""`workbench new --for`: the intent's settings, their reasons printed and written."""

from pathlib import Path

import pytest

from workbench import cli
from workbench.recipe import Recipe


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


def test_reasons_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "mine.toml"
    options = ("--data", str(tmp_path), "--trigger", "zib", "--out", str(out), "--for", "style")
    assert run("new", "mine", *options, "adapter.rank=4", "adapter.alpha=4") == 0
    said = capsys.readouterr().out
    assert "data.captions.tag_dropout = 0.3" in said
    assert "so that the style comes through whatever is said" in said
    assert "adapter.rank" not in said  # the user's own choice has no reason of ours
    text = out.read_text()
    assert "# For a style: three tags in ten are left out at random" in text
    recipe = Recipe.load(out)
    assert (recipe.data.augment.flip, recipe.adapter.kind, recipe.adapter.rank) == (0.5, "lora", 4)


def test_an_unknown_intent_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "mine.toml"
    assert run("new", "mine", "--data", str(tmp_path), "--out", str(out), "--for", "logo") == 2
    assert "must be one of character, style, object, scene" in capsys.readouterr().err
    assert not out.exists()
