"""A base without weights: what it is, from configs that ship or lie in its folder."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from workbench.layouts.unet import original_path
from workbench.models.base import BaseSettings, FromScratch
from workbench.models.outline import Outline, outline
from workbench.recipe import Recipe
from workbench.settings import SettingsError


def seen(path: str, **settings) -> Outline:
    found = outline(BaseSettings(path=path, from_scratch=FromScratch(), **settings))
    assert found is not None
    return found


def size(found: Outline, part: str) -> int:
    return sum(p.numel() for p in found.parts[part].parameters())


@pytest.fixture(scope="module")
def sdxl() -> Outline:
    found = outline(Recipe.preset("sdxl-unet-from-scratch").base)
    assert found is not None
    return found


def test_sdxl_is_known_by_name_to_the_last_weight(sdxl: Outline):
    """Numbers of the published model, whose fp32 U-Net takes 10,270 MB."""
    assert (sdxl.version, sdxl.is_here, sdxl.native_px, sdxl.latent_px) == ("sdxl", False, 1024, 8)
    assert size(sdxl, "unet") == 2_567_463_684
    assert len(sdxl.parts["unet"].state_dict()) == 1_680
    assert size(sdxl, "text_encoder") == 123_060_480
    assert size(sdxl, "text_encoder_2") == 694_659_840
    assert size(sdxl, "vae") == 83_653_863
    assert all(p.is_meta for part in sdxl.parts.values() for p in part.parameters())


def test_the_names_of_a_single_file_are_read_back_by_diffusers(sdxl: Outline):
    """diffusers' own reader of Stability's files, which sd-scripts reads and writes too."""
    unet = sdxl.parts["unet"]
    named = {}
    for name in unet.state_dict():
        path, _, leaf = name.rpartition(".")
        named[f"model.diffusion_model.{original_path(path, unet.config)}.{leaf}"] = torch.empty(0)
    assert len(named) == 1_680
    config = {**unet.config, "class_embed_type": None}
    read = convert_ldm_unet_checkpoint(named, config)
    assert set(read) == set(unet.state_dict())


@pytest.mark.parametrize(
    ("path", "version", "native_px", "num_weights"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "sd1", 512, 859_520_964),
        ("stabilityai/stable-diffusion-2-1", "sd2", 768, 865_910_724),
    ],
)
def test_other_published_ones_too(path: str, version: str, native_px: int, num_weights: int):
    found = seen(path)
    assert (found.version, found.native_px, found.is_here) == (version, native_px, False)
    assert size(found, "unet") == num_weights


def test_a_missing_file_is_known_by_its_name():
    assert seen("models/my-sdxl-base.safetensors").version == "sdxl"
    assert outline(BaseSettings(path="somebody/a-model")) is None
    assert seen("somebody/a-model", family="sdxl").version == "sdxl"


def test_a_folder_tells_by_its_own_configs(tiny_sdxl: Path, tmp_path: Path):
    found = seen(str(tiny_sdxl))
    assert found.is_here and found.native_px == 64
    shutil.copytree(tiny_sdxl, tmp_path / "base")
    shutil.rmtree(tmp_path / "base" / "vae")
    with pytest.raises(Exception, match="vae missing"):
        outline(BaseSettings(path=str(tmp_path / "base")))


def test_another_structure_is_followed_and_must_fit(tiny_sd: Path, tmp_path: Path):
    text = (tiny_sd / "unet" / "config.json").read_text()
    deeper = tmp_path / "config.json"
    deeper.write_text(re.sub(r'"layers_per_block": 1', '"layers_per_block": 2', text))
    settings = BaseSettings(path=str(tiny_sd), from_scratch=FromScratch(config=str(deeper)))
    found = outline(settings)
    assert found is not None and size(found, "unet") > size(seen(str(tiny_sd)), "unet")
    deeper.write_text(re.sub(r'"cross_attention_dim": 32', '"cross_attention_dim": 48', text))
    with pytest.raises(SettingsError, match="cross_attention_dim must be 32"):
        outline(settings)
