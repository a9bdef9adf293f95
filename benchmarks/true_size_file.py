"""Bases of full size with random weights, written as the files that people download.

Structures are those that ship with the package, names those of Stability's files: tensors lie in
one file with the encoders' position ids, the noise schedule's tables and, of the pruned SD 1.5's
elder sister, the moving averages under `model_ema.`. One tensor at a time is in memory.
"""

import json
import math
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
TABLES = (  # of LDM's noise schedule, 1000 numbers each
    *("alphas_cumprod", "alphas_cumprod_prev", "betas", "log_one_minus_alphas_cumprod"),
    *("posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
    *("posterior_variance", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"),
    *("sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
)
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A published model.

    Attributes:
        version: of `workbench.models.configs`.
        file: what its file is called.
        stored: type of the published file's weights.
        title: for people.
    """

    version: str
    file: str
    stored: torch.dtype
    title: str


KINDS = {
    "sd15": Kind("sd1", "v1-5-pruned-emaonly.safetensors", torch.float32, "SD 1.5"),
    "sdxl": Kind("sdxl", "sd_xl_base_1.0.safetensors", torch.float16, "SDXL"),
}


def parts(version: str) -> dict[str, dict[str, Tensor]]:
    """The tensors of a version's modules, on the meta device.

    Args:
        version: "sd1", "sd2" or "sdxl".
    Returns:
        Part to tensors by diffusers' or transformers' names.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from workbench.models.source import CONFIGS

    folder = CONFIGS / version
    with torch.device("meta"):
        modules = {
            "unet": UNet2DConditionModel.from_config(str(folder / "unet")),
            "vae": AutoencoderKL.from_config(str(folder / "vae")),
            "text_encoder": CLIPTextModel(
                CLIPTextConfig.from_pretrained(str(folder / "text_encoder"))
            ),
        }
        if (folder / "text_encoder_2").exists():
            config = CLIPTextConfig.from_pretrained(str(folder / "text_encoder_2"))
            modules["text_encoder_2"] = CLIPTextModelWithProjection(config)
    return {name: dict(module.named_parameters()) for name, module in modules.items()}


def original(version: str, *, ema: bool = False) -> dict[str, Tensor]:
    """The tensors of a version's file: weights on the meta device, the rest with its values.

    Args:
        version: "sd1" or "sdxl".
        ema: with the moving averages of SD 1.5's training file.
    Returns:
        Name in the file to tensor.
    """
    sys.path[:0] = [str(ROOT / "tests")]
    from tiny_models import in_single_file

    config = json.loads((ROOT / f"workbench/models/configs/{version}/unet/config.json").read_text())
    found = in_single_file(parts(version), config)
    if version == "sdxl":
        found["conditioner.embedders.1.model.logit_scale"] = torch.tensor(math.log(100))
        return found
    found |= {name: torch.linspace(0.9991, 0.0047, 1000) for name in TABLES}
    if ema:
        trained = [name for name in found if name.startswith("model.")]
        names = {n: "model_ema." + n.removeprefix("model.").replace(".", "") for n in trained}
        found |= {names[name]: found[name] for name in trained}
        found |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}
    return found


def write(path: Path, tensors: Mapping[str, Tensor], stored: torch.dtype) -> None:
    """Write a safetensors file, whose weights are drawn tensor by tensor.

    Args:
        path: to be written.
        tensors: those on the meta device are drawn.
        stored: type of all floating-point tensors.
    """
    header, offset = {}, 0
    for name, tensor in tensors.items():
        dtype = stored if tensor.is_floating_point() else tensor.dtype
        end = offset + tensor.numel() * dtype.itemsize
        entry = {"dtype": NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        header[name], offset = entry, end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in _drawn(tensors, stored):
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _drawn(tensors: Mapping[str, Tensor], stored: torch.dtype) -> Iterator[Tensor]:
    """Weights under which activations stay small: norms 1, biases 0, the rest by its inputs."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if not tensor.is_meta:
            yield tensor.to(stored) if tensor.is_floating_point() else tensor
        elif tensor.ndim < 2:
            value = 1.0 if name.endswith("weight") else 0.0
            yield torch.full(tensor.shape, value, dtype=stored)
        else:
            is_table = "embedding" in name
            std = 0.02 if is_table else 0.7 / math.sqrt(math.prod(tensor.shape[1:]))
            yield (torch.randn(tensor.shape, generator=generator) * std).to(stored)


if __name__ == "__main__":
    kind, out = KINDS[sys.argv[1]], Path(sys.argv[2])
    write(out, original(kind.version, ema="--ema" in sys.argv), kind.stored)
