"""Names in single files: those that other programs write, brought to Stability's own."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import store
from workbench.models.original_layout import TEXT_PREFIXES, UNET_PREFIX, VAE_PREFIX

__all__ = [
    "SHARED_PREFIXES",
    "TEXT_PREFIXES",
    "UNET_INPUT",
    "published_name",
    "published_names",
    "read_part",
]

if TYPE_CHECKING:
    from torch import Tensor

SHARED_PREFIXES = {"unet": UNET_PREFIX, "vae": VAE_PREFIX}
UNET_INPUT = f"{UNET_PREFIX}input_blocks.0.0.weight"
# A whole checkpoint saved inside another module, as trainers and mergers do.
_WRAPPERS = re.compile(
    r"(?:state_dict\.|module\.|model\.(?=(?:model\.)?diffusion_model\.|first_stage_model\."
    r"|cond_stage_model\.|conditioner\.))+"
)
# transformers before 4.0, and NovelAI's models: CLIP without the level that its class has.
_BARE_CLIP = re.compile(
    r"((?:cond_stage_model|conditioner\.embedders\.0)\.transformer\.)"
    r"(?=embeddings\.|encoder\.|final_layer_norm\.)"
)

_STORED = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


def published_name(name: str) -> str:
    """Bring a tensor's name to the one that Stability's files use.

    Args:
        name: as it stands in a file.
    Returns:
        The published name; a name of no known variant stays as it is.
    """
    if match := _WRAPPERS.match(name):
        name = name[match.end() :]
    if name.startswith("diffusion_model."):
        name = f"model.{name}"
    return _BARE_CLIP.sub(r"\1text_model.", name)


def published_names(names: Iterable[str]) -> dict[str, str]:
    """Bring all names of a file to the published ones.

    Args:
        names: as they stand in a file.
    Returns:
        Published name to the name in the file; where a file holds both, the published one stays.
    """
    found: dict[str, str] = {}
    for name in names:
        new = published_name(name)
        if name == new or new not in found:
            found[new] = name
    return found


def read_part(path: Path, prefix: str, *, dtype: str) -> "dict[str, Tensor]":
    """Read a part of a single file, in the precision in which it is used.

    Tensors that are stored in it are mapped from the file. Others are read and cast one by one:
    were they mapped too, the pages of a float32 SD 1.5 would stay resident, 4.3 GB beside the 2.1
    that its weights take in bfloat16.

    Args:
        path: a .safetensors file.
        prefix: beginning of the part's published names; "" for all of the file.
        dtype: "float32", "float16" or "bfloat16", which floating-point tensors are cast to.
    Returns:
        Published name to tensor.
    Raises:
        FileRefused: not sound.
    """
    import torch
    from safetensors import safe_open

    _, header = store.read_header(path)
    names = {new: old for new, old in published_names(header).items() if new.startswith(prefix)}
    found = {}
    with safe_open(path, "pt") as mapped, safe_open(path, "pt", backend="pread") as copied:
        for new, old in names.items():
            stored = header[old][0]
            if stored in _FLOATS and stored != _STORED[dtype]:
                found[new] = copied.get_tensor(old).to(getattr(torch, dtype))
            else:
                found[new] = mapped.get_tensor(old)
    return found
