"""`check` and `new` look at the base first: what cannot be trained ends them, by name."""

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench import cli
from workbench.checks.base import look
from workbench.models.base import BaseSettings
from workbench.recipe import Recipe


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    return int(caught.value.code or 0)


def write(folder: Path, base: Path, *overrides: str) -> Path:
    recipe = Recipe.preset("critters").override([f"base.path={base.as_posix()}", *overrides])
    path = folder / "recipe.toml"
    path.write_text(recipe.to_toml())
    return path


def extended(source: Path, path: Path, *names: str) -> Path:
    save_file(load_file(source) | {name: torch.zeros(1) for name in names}, path)
    return path


@pytest.fixture
def kinds(tiny_sdxl_file: Path, tiny_sd2_file: Path, tmp_path: Path) -> dict[str, Path]:
    """What is said of a base, and the base."""
    lora, page = tmp_path / "lora.safetensors", tmp_path / "page.safetensors"
    save_file({"lora_unet_mid_block.lora_down.weight": torch.zeros(1)}, lora)
    page.write_text("<!doctype html><html>Not Found</html>")
    pointer = tmp_path / "pointer.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    flux = tmp_path / "flux.safetensors"
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, flux)
    cosxl = extended(tiny_sdxl_file, tmp_path / "cos.safetensors", "edm_vpred.sigma_max")
    no_vae = tmp_path / "no-vae.safetensors"
    tensors = load_file(tiny_sdxl_file).items()
    save_file({k: t for k, t in tensors if not k.startswith("first_stage")}, no_vae)
    return {
        "does not exist": tmp_path / "nowhere" / "model.safetensors",
        "this is a LoRA, not a base model": lora,
        "this is FLUX": flux,
        "page.safetensors": page,
        "pointer.safetensors": pointer,
        "vae missing": no_vae,
        "this is CosXL": cosxl,
        "this is Playground 2.5": extended(tiny_sdxl_file, tmp_path / "pg.safetensors", "edm_mean"),
        "does not say what its U-Net predicts": tiny_sd2_file,
    }  # fmt: skip


KINDS = (
    "does not exist",
    "this is a LoRA, not a base model",
    "this is FLUX",
    "page.safetensors",
    "pointer.safetensors",
    "vae missing",
    "this is CosXL",
    "this is Playground 2.5",
    "does not say what its U-Net predicts",
)


@pytest.mark.parametrize("said", KINDS)
def test_check_and_new_name_what_the_base_is(
    said: str,
    kinds: dict[str, Path],
    tiny_sd2: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = kinds[said]
    config = str(tiny_sd2) if said.endswith("predicts") else None
    before = time.process_time()
    assert said in look(BaseSettings(path=str(base), config=config)).refused
    assert time.process_time() - before < 2, "headers alone are read"
    assert ended("check", str(write(tmp_path, base))) == 2
    shown = capsys.readouterr()
    printed = " ".join((shown.out + shown.err).split())
    assert "[base_unusable]" in printed and base.name in printed
    recipe = tmp_path / "new.toml"
    code = ended("new", "x", "--base", str(base), "--data", "critters:mochi", "--out", str(recipe))
    assert code == 2 and not recipe.exists()


def test_a_base_that_is_as_it_should_be_and_one_on_the_hub_are_not_refused(tiny_sd: Path) -> None:
    assert look(BaseSettings(path=str(tiny_sd))).refused == ""
    assert look(BaseSettings(path="some/sdxl-base")).refused == ""
    assert look(BaseSettings()).refused == ""
