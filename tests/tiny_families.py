"""Every family on a tiny base, with the settings that it needs: what contracts run over."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import toy_family
from diffusers import UNet2DConditionModel
from tiny_models import build_sd, build_sdxl
from tiny_zimage import build_zimage


@dataclass(frozen=True)
class Case:
    """One family, or a variant of one.

    Attributes:
        build: writes a base into a folder.
        family: its name in the registry.
        settings: overrides of `tiny_recipes.tiny_recipe`.
        encoder: a text encoder of it can learn.
        denoiser: key of the denoiser among the parts.
    """

    build: Callable[[Path], Path]
    family: str
    settings: tuple[str, ...] = ()
    encoder: bool = True
    denoiser: str = "unet"


def widened(folder: Path) -> Path:
    """Give a base a U-Net that takes mask and masked picture too."""
    torch.manual_seed(11)
    config = UNet2DConditionModel.load_config(folder / "unet")
    UNet2DConditionModel.from_config({**config, "in_channels": 9}).save_pretrained(folder / "unet")
    return folder


CASES = {
    "sd1": Case(build_sd, "sd"),
    "sd2": Case(lambda folder: build_sd(folder, version=2), "sd"),
    "sd1-inpainting": Case(lambda folder: widened(build_sd(folder)), "sd"),
    "sd2-inpainting": Case(lambda folder: widened(build_sd(folder, version=2)), "sd"),
    "sdxl": Case(build_sdxl, "sdxl"),
    "sdxl-inpainting": Case(lambda folder: widened(build_sdxl(folder)), "sdxl"),
    "zimage": Case(
        build_zimage,
        "zimage",
        ("sampling.width=64", "sampling.height=64"),
        encoder=False,
        denoiser="transformer",
    ),
    "toy": Case(
        toy_family.build,
        "toy",
        ("data.buckets.resolution=96", "data.buckets.step=12"),
        denoiser="mixer",
    ),
}
