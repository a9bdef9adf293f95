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


def test_what_follows_from_the_base_is_written_with_its_reasons(
    tiny_sdxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    out = tmp_path / "mine.toml"
    options = ("--data", str(tmp_path), "--base", str(tiny_sdxl), "--out", str(out))
    assert run("new", "mine", *options, "training.batch_size=2") == 0
    said = capsys.readouterr().out
    assert "data.buckets.resolution = 64" in said, "the tiny base is made for 64 px"
    assert "Stable Diffusion XL is made for 64 px" in said
    assert "training.batch_size" not in said  # the user's own choice has no reason of ours
    recipe = Recipe.load(out)
    assert (recipe.data.buckets.resolution, recipe.training.batch_size) == (64, 2)
    assert (recipe.training.accumulation, recipe.base.gradient_checkpointing) == (4, True)
    assert recipe.sampling.guidance == 5
    assert "# For this base: usual for a LoRA of Stable Diffusion XL" in out.read_text()


def test_a_base_on_the_hub_is_known_by_its_name(tmp_path: Path):
    for name, side in (("someone/sdxl-anime", 1024), ("someone/sd1-photos", 512)):
        out = tmp_path / f"{side}.toml"
        assert run("new", "x", "--data", str(tmp_path), "--base", name, "--out", str(out)) == 0
        assert Recipe.load(out).data.buckets.resolution == side
    out = tmp_path / "unknown.toml"
    assert run("new", "x", "--data", str(tmp_path), "--base", "some/thing", "--out", str(out)) == 0
    assert Recipe.load(out).data.buckets.resolution == 512, "as the preset has it"
