"""The structures whose configs ship, built without weights: they tell what a layer is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workbench import store
from workbench.models.naming import original_path, text_name
from workbench.models.source import CONFIGS

__all__ = ["TITLES", "Structure", "lora_name", "on_meta", "structure"]

TITLES = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "Stable Diffusion XL",
}


_TEXT_PREFIXES = {
    "sd1": {"text_encoder": "lora_te"},
    "sd2": {"text_encoder": "lora_te"},
    "sdxl": {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}


def lora_name(version: str, part: str, path: str, *, unet_config: Mapping[str, Any]) -> str:
    """Name a module as LoRA files do.

    Args:
        version: "sd1", "sd2" or "sdxl".
        part: "unet", "text_encoder" or "text_encoder_2".
        path: of the module inside the part.
        unet_config: of the U-Net.
    Returns:
        For example "lora_unet_down_blocks_0_attentions_0_proj_in".
    """
    if part != "unet":
        return text_name(_TEXT_PREFIXES[version][part], path)
    if version == "sdxl":
        path = original_path(path, unet_config)
    return f"lora_unet_{path}".replace(".", "_")


@dataclass(frozen=True, slots=True)
class Structure:
    """The modules of a published model on the device "meta", which holds shapes and no weights.

    Attributes:
        version: "sd1", "sd2" or "sdxl".
        parts: part to model, as `Family.parts`.
    """

    version: str
    parts: Mapping[str, nn.Module]

    def file_name(self, part: str, path: str) -> str:
        """See `Family`.

        Args:
            part: key of `parts`.
            path: module path inside the part.
        Returns:
            The layer's name in LoRA files.
        """
        unet: Any = self.parts["unet"]
        return lora_name(self.version, part, path, unet_config=unet.config)


@cache
def structure(version: str) -> Structure:
    """Build a structure in about a second and a few megabytes, whatever its weights would take.

    Args:
        version: key of `TITLES`.
    Returns:
        The modules, made once.
    """
    parts = on_meta(CONFIGS / version)
    del parts["vae"]  # no adapter is on it
    return Structure(version, parts)


def on_meta(folder: Path, *, unet: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Build the modules that a diffusers folder describes, on the device "meta".

    Args:
        folder: with a config.json for each part; no weights are needed.
        unet: config of the U-Net; the folder's by default.
    Returns:
        "unet", "text_encoder", for SDXL "text_encoder_2", and "vae" where it is described.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    def described(part: str) -> dict[str, Any]:
        return store.read_json(folder / part / "config.json")

    def has(part: str) -> bool:
        return (folder / part / "config.json").exists()

    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    with torch.device("meta"):
        parts: dict[str, Any] = {
            "unet": UNet2DConditionModel.from_config(dict(unet or described("unet")))
        }
        for part, kind in kinds.items():
            if has(part):
                parts[part] = kind(CLIPTextConfig(**described(part)))
        if has("vae"):
            parts["vae"] = AutoencoderKL.from_config(described("vae"))
    return parts
