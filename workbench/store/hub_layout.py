"""One part of a model as the Hub's diffusers folders hold it: names, weights, config.

The Hub's text encoders have a level `text_model.` in front of every name. transformers 5 dropped it
from one class, so that what it saves is no longer found by transformers 4, which goes on with
random weights, nor by ComfyUI. What is written here has the level; what is read may have it or not.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.store.streaming import LazyTensor

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["hub_config", "hub_name", "hub_tensors", "own_names", "weights_path"]

_LEVEL = "text_model."
_PROJECTION = "text_projection."  # beside that level, in the class that has it
_CLIP = "clip_text_model"
_OPTIONAL = "position_ids"  # 0 to 76: a buffer that files of older transformers hold


def weights_path(folder: Path, part: str) -> Path:
    """Where diffusers looks for a part's weights.

    Args:
        folder: of the model.
        part: "unet", "text_encoder" and the like.
    Returns:
        The .safetensors file.
    """
    stem = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"
    return folder / part / f"{stem}.safetensors"


def hub_tensors(module: "nn.Module", dtype: "torch.dtype | None" = None) -> dict[str, LazyTensor]:
    """A part's weights under the names that every reader knows.

    Args:
        module: of diffusers, transformers or torch.
        dtype: of fractions in the file; None keeps theirs.
    Returns:
        Name to tensor; nothing is copied.
    """
    clip = _is_clip(module)
    return {
        hub_name(name) if clip else name: LazyTensor.of(tensor, dtype)
        for name, tensor in module.state_dict().items()
    }


def hub_name(name: str) -> str:
    """The Hub's name of a weight of CLIP's text encoders.

    Args:
        name: with or without the level that transformers 5 dropped.
    Returns:
        The name with it.
    """
    return name if name.startswith((_LEVEL, _PROJECTION)) else _LEVEL + name


def own_names(
    state: "Mapping[str, torch.Tensor]", wanted: Collection[str]
) -> "dict[str, torch.Tensor]":
    """Name what a file holds as the model here does.

    Args:
        state: of a file, with the level `text_model.` or without.
        wanted: the model's own names.
    Returns:
        The same tensors under the model's names; what fits none keeps its own, but for the
        positions that old files number.
    """
    found = {}
    for name, tensor in state.items():
        spellings = (name, name.removeprefix(_LEVEL), _LEVEL + name)
        own = next((spelling for spelling in spellings if spelling in wanted), None)
        if own is not None or not name.endswith(_OPTIONAL):
            found[own or name] = tensor
    return found


def hub_config(module: "nn.Module", dtype: "torch.dtype | None" = None) -> str | None:
    """The config.json of a part, for transformers and diffusers of every version.

    Args:
        module: of diffusers (which is its own config), transformers or torch.
        dtype: of the weights in the file; None where they keep theirs.
    Returns:
        JSON; None where the module has no config.
    """
    model: Any = module
    own = hasattr(model, "to_json_string")
    owner = model if own else getattr(model, "config", None)
    if owner is None:
        return None
    config: dict[str, Any] = json.loads(owner.to_json_string())
    config.pop("_name_or_path", None)  # a folder of this machine
    if not own:
        weight = next((p for p in module.parameters() if p.is_floating_point()), None)
        kind = dtype if dtype is not None or weight is None else weight.dtype
        named = str(kind).removeprefix("torch.")
        # transformers 4 reads `torch_dtype`, 5 reads `dtype`.
        config |= {"architectures": [type(module).__name__], "dtype": named, "torch_dtype": named}
    return json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _is_clip(module: "nn.Module") -> bool:
    config: Any = getattr(module, "config", None)
    return getattr(config, "model_type", None) == _CLIP
