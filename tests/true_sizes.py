"""Single files with the names and shapes of full-size bases, and no weights: only headers count.

The files are sparse: 13 GB that take some hundred kilobytes on the disk. They can be looked at, not
trained.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tiny_models import in_single_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from workbench.models.source import CONFIGS


def write_single_file(version: str, path: Path) -> Path:
    """Write a single file of "sd1", "sd2" or "sdxl" at full size, in float16."""
    folder = CONFIGS / version
    config = UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):
        modules = {
            "unet": UNet2DConditionModel.from_config(config),
            "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(folder / "vae")),
            "text_encoder": CLIPTextModel(_text_config(folder / "text_encoder")),
        }
        if (folder / "text_encoder_2").exists():
            second = _text_config(folder / "text_encoder_2")
            modules["text_encoder_2"] = CLIPTextModelWithProjection(second)
        parts = {name: module.state_dict() for name, module in modules.items()}
        return write_sparse(in_single_file(parts, config), path)


def write_sparse(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    """Write a safetensors file of these names and shapes, in float16; its weights are holes."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + 2 * tensor.numel()
        header[name] = {"dtype": "F16", "shape": [*tensor.shape], "data_offsets": [start, end]}
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    with path.open("wb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
        file.truncate(8 + len(said) + end)
    return path


def _text_config(folder: Path) -> CLIPTextConfig:
    return CLIPTextConfig.from_pretrained(folder)
