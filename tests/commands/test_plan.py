"""`workbench check` of a U-Net from nothing: its tables, with the base here or not."""

from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench import cli
from workbench.commands.terminal import console
from workbench.recipe import Recipe
from workbench.training import plan as planning
from workbench.training.plan import Stage

SDXL = "sdxl-unet-from-scratch"
GIB = 2**30


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passes of SDXL as they were counted, which takes ten seconds, and a rate of 10 TFLOP/s."""
    stages = (
        Stage(256, flop=2 * 10**12, activations={True: GIB // 16, False: GIB // 2}),
        Stage(1024, flop=25 * 10**12, activations={True: GIB, False: 8 * GIB}),
    )
    monkeypatch.setattr(planning, "_stages", lambda recipe, base: stages)
    monkeypatch.setattr(planning, "matrix_rate", lambda precision: 1e13)


def check(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["check", *arguments])
    return int(end.value.code or 0), capsys.readouterr().out


def row(said: str, first: str) -> list[str]:
    """Cells of the table row that begins so."""
    line = next(line for line in said.splitlines() if line.strip().startswith(first))
    return [cell.strip() for cell in line.strip().split("  ") if cell.strip()]


@pytest.mark.usefixtures("counted")
def test_sdxl_is_planned_without_a_file_of_it(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console, "width", 160)
    code, said = check(capsys, SDXL, "output.folder=.")
    assert code == 0
    assert "stabilityai/stable-diffusion-xl-base-1.0 cannot be found on this machine" in said
    assert "2,567,463,684 weights under 1,680 names:" in said
    assert row(said, "up_blocks.0")[2:] == ["656", "1,206,568,960"]
    # 24 GiB x .93 - 13.83 GiB = 8.49 GiB: 135 pictures of a sixteenth
    own = row(said, "lion8bit (this recipe)")
    assert own[1:7] == ["4.78 GiB", "4.78 GiB", "2.43 GiB", "none", "1.83 GiB", "13.8 GiB"]
    assert own[7] == "135"
    assert row(said, "lion8bit with ema")[4:8] == [
        "9.56 GiB",
        "1.83 GiB",
        "23.4 GiB",
        "does not fit",
    ]
    assert row(said, "adamw ")[3] == "19.1 GiB"
    assert row(said, "1024 x 1024")[1:5] == ["25", "1 GiB", "8 GiB", "8"]
    assert "a thousand pictures 3 min 20 s at 256 px, 41 min 40 s at 1024 px" in said
    assert "6,400,000 pictures at 256 px, at least 14 d 19 h" in said  # 1.28e6 s
    assert "5 checkpoints of 7.21 GiB that stay, one that is being written, 4.78 GiB" in said


@pytest.mark.usefixtures("counted")
def test_a_moving_average_is_counted_where_it_is_on(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(console, "width", 160)
    _, said = check(capsys, SDXL, "ema.decay=0.9999")
    assert row(said, "lion8bit (this recipe)")[4] == "9.56 GiB"
    assert row(said, "lion8bit without ema")[4] == "none"


@pytest.mark.usefixtures("counted")
def test_a_file_that_is_not_there_is_said_and_planned(capsys: pytest.CaptureFixture):
    code, said = check(capsys, SDXL, "base.path=nowhere/sdxl.safetensors")
    assert code == 2
    assert "refuse [base_unusable]" in said and "does not exist" in said
    assert "Its name says Stable Diffusion XL" in said
    assert "2,567,463,684 weights" in said


def test_what_cannot_be_planned_is_said(capsys: pytest.CaptureFixture):
    _, said = check(capsys, SDXL, "base.path=somebody/a-model")
    assert "its name does not tell its structure" in said and "base.family" in said
    _, said = check(capsys, SDXL, "adapter.kind=lora")
    assert 'goes with adapter.kind = "full", got "lora"' in said


def test_a_tiny_base_is_planned_whole(
    tiny_sd: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    """Nothing stands in here: passes are counted, the rate of this machine is measured."""
    monkeypatch.setattr(console, "width", 160)
    recipe: Recipe = tiny_recipe(
        tiny_sd,
        write_photos(tmp_path / "photos"),
        tmp_path / "runs",
        *("adapter.kind=full", "base.from_scratch.weights=small_normal"),
    )
    (tmp_path / "tiny.toml").write_text(recipe.to_toml())
    code, said = check(capsys, str(tmp_path / "tiny.toml"))
    assert code == 0
    assert "cannot be found" not in said
    assert row(said, "adamw (this recipe)")[-1] == "4,096"
    assert "TFLOP/s, which this machine reaches in plain float32 matrix products" in said


def test_other_recipes_are_checked_as_before(capsys: pytest.CaptureFixture):
    _, said = check(capsys, "sdxl-lora")
    assert "From nothing" not in said and "names" not in said
