"""The critters' base with nine channels: what must be added to the shipped weights to fill in.

It ships as a difference: the U-Net's first convolution, which reads mask and masked picture too,
and a low-rank update of the other layers. `folder` makes a diffusers folder of both, once.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import store
from workbench.critters import BASE

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DIFFERENCE", "FIRST", "NAME", "folder", "widened", "write"]

NAME = "critters-inpainting"
DIFFERENCE = Path(__file__).parent / "inpainting.safetensors"
FIRST = "conv_in.weight"
CHANNELS = 9  # noisy latents 4, mask 1, masked picture 4
_UNET = "unet/diffusion_pytorch_model.safetensors"


@cache
def folder() -> Path:
    """Make the base, unless it lies there.

    Returns:
        A diffusers folder among what all runs share; its name holds what it was made of.
    Raises:
        OSError: the disk is full.
    """
    made_of = hashlib.sha256(DIFFERENCE.read_bytes() + (BASE / _UNET).read_bytes()).hexdigest()
    place = store.cache_home() / "bases" / f"{NAME}-{made_of[:12]}"
    if not place.is_dir():
        try:
            write(place, store.load_tensors(DIFFERENCE))
        except OSError:
            if not place.is_dir():  # otherwise another process made it meanwhile
                raise
    return place


def write(place: Path, difference: "Mapping[str, Tensor]") -> None:
    """Write a base of nine channels, whole or not at all.

    Args:
        place: absent, or empty.
        difference: `FIRST`, float16 (64, 9, 3, 3), and of each layer "<path>.down" (r, in) and
            "<path>.up" (out, r); other layers stay as they are.
    Raises:
        OSError: the disk is full, or another process made the folder first.
    """
    weights = store.load_tensors(BASE / _UNET)
    for name in {name.rpartition(".")[0] for name in difference if name != FIRST}:
        weight = weights[f"{name}.weight"]
        # In float64, so that every machine rounds to the same float16.
        change = difference[f"{name}.up"].double() @ difference[f"{name}.down"].double()
        weights[f"{name}.weight"] = (weight.double() + change.view_as(weight)).to(weight.dtype)
    weights[FIRST] = difference[FIRST].to(weights[FIRST].dtype)
    config = store.read_json(BASE / "unet" / "config.json") | {"in_channels": CHANNELS}
    index = store.read_json(BASE / "model_index.json")
    index |= {"_class_name": "StableDiffusionInpaintPipeline"}
    with store.whole_folder(place) as staged:
        for part in BASE.iterdir():
            if part.is_dir() and part.name != "unet":
                shutil.copytree(part, staged / part.name)
        store.save_tensors(staged / _UNET, weights, {"format": "pt"})
        store.write_text(staged / "unet" / "config.json", json.dumps(config, indent=2))
        store.write_text(staged / "model_index.json", json.dumps(index, indent=2))


def widened() -> "dict[str, Tensor]":
    """What training begins from: a first convolution that reads nothing yet of what is beside.

    Returns:
        A difference for `write`.
    """
    import torch

    first = store.load_tensors(BASE / _UNET)[FIRST]
    wide = torch.zeros(len(first), CHANNELS, *first.shape[2:], dtype=first.dtype)
    wide[:, : first.shape[1]] = first
    return {FIRST: wide}
