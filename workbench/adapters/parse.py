"""Tensors of a LoRA file -> layers, in the spellings of kohya, PEFT and older diffusers."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from workbench.adapters.layers import Layer

_TENSOR = re.compile(
    r"(?P<layer>.+?)\.(?:"
    r"(?P<down>lora_down|lora_A(?:\.default)?|lora\.down|lora_linear_layer\.down)\.weight|"
    r"(?P<up>lora_up|lora_B(?:\.default)?|lora\.up|lora_linear_layer\.up)\.weight|"
    r"(?P<mid>lora_mid)\.weight|"
    r"(?P<alpha>alpha))"
)
# Tensors of other methods; loaded without them, the rest would be a wrong LoRA, or none.
_OTHER_METHODS = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_w": "LoHa",
    "hada_t": "LoHa",
    "lokr_w": "LoKr",
    "lokr_t": "LoKr",
    "oft_": "OFT",
    "bundle_emb": "a textual inversion inside the LoRA",
    "w_norm": "trained normalisation layers",
    "b_norm": "trained normalisation layers",
    "diff": "full differences of weights",
}


def other_method(names: Iterable[str]) -> tuple[str, str] | None:
    """Whether tensors belong to another method than LoRA.

    Args:
        names: of all tensors in a file.
    Returns:
        The method and one of its tensors, or None.
    """
    for name in names:
        for mark, method in _OTHER_METHODS.items():
            if f".{mark}" in name or name.startswith(mark):
                return method, name
    return None


def layers_of(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Layer], list[str]]:
    """Group tensors into layers.

    Args:
        tensors: name to tensor, of a whole file.
    Returns:
        Name to layer, and a line for everything that is no whole layer.
    """
    pieces: dict[str, dict[str, Tensor]] = {}
    wrong: list[str] = []
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            wrong.append(f"{name}: no tensor of a LoRA")
            continue
        role = next(r for r in ("down", "up", "mid", "alpha") if match[r])
        pieces.setdefault(match["layer"], {})[role] = tensor
    layers = {}
    for name, piece in pieces.items():
        try:
            layers[name] = _layer(**piece)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    return layers, wrong


def _layer(
    *,
    down: Tensor | None = None,
    up: Tensor | None = None,
    mid: Tensor | None = None,
    alpha: Tensor | None = None,
) -> Layer:
    if down is None or up is None:
        raise ValueError(f"{'lora_down' if down is None else 'lora_up'} is missing")
    if down.dim() not in (2, 4) or up.dim() not in (2, 4):
        raise ValueError(f"down {list(down.shape)} and up {list(up.shape)} must have 2 or 4 axes")
    if mid is not None:  # up(mid(down x)), down being 1x1, is up of one wide convolution
        if mid.dim() != 4 or mid.shape[1] != down.shape[0] or down[0].numel() != down.shape[1]:
            raise ValueError(f"lora_mid {list(mid.shape)} does not fit down {list(down.shape)}")
        down = torch.einsum("oshw,si->oihw", mid.float(), down.flatten(1).float())
    if down.shape[0] != up.shape[1]:
        raise ValueError(f"the ranks of down {list(down.shape)} and up {list(up.shape)} differ")
    if alpha is None:
        return Layer(down, up, float(down.shape[0]))
    if alpha.numel() != 1 or float(alpha) == 0:
        # Zero is the rank to kohya and no effect at all to others.
        raise ValueError(f"alpha must be one number other than 0, got {alpha.tolist()}")
    return Layer(down, up, float(alpha))
