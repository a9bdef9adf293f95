"""Tensors of an adapter file -> layers, in the spellings of kohya, LyCORIS, PEFT and others."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from workbench.adapters.layers import Hadamard, Kronecker, Layer, LowRank

_TENSOR = re.compile(
    r"(?P<layer>.+?)\.(?:"
    r"(?P<down>lora_down|lora_A(?:\.default)?|lora\.down|lora_linear_layer\.down)\.weight|"
    r"(?P<up>lora_up|lora_B(?:\.default)?|lora\.up|lora_linear_layer\.up)\.weight|"
    r"(?P<mid>lora_mid)\.weight|"
    r"(?P<magnitude>dora_scale|lora_magnitude_vector(?:\.default)?(?:\.weight)?)|"
    r"(?P<hada>hada_(?:w[12]_[ab]|t[12]))(?:\.default)?|"
    r"(?P<lokr>lokr_(?:w[12](?:_[ab])?|t2))(?:\.default)?|"
    r"(?P<alpha>alpha))"
)
# Tensors of other methods; loaded without them, the rest would be a wrong LoRA, or none.
_OTHER_METHODS = {
    "oft_": "OFT",
    "bundle_emb": "a textual inversion inside the LoRA",
    "w_norm": "trained normalisation layers",
    "b_norm": "trained normalisation layers",
    "diff": "full differences of weights",
}


def other_method(names: Iterable[str]) -> tuple[str, str] | None:
    """Whether tensors belong to a method that is not read.

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
        Name to layer, and a line for everything that is no whole layer. A missing alpha is the
        rank; a LoCon's Tucker core is multiplied into `down`.
    """
    pieces: dict[str, dict[str, Tensor]] = {}
    wrong: list[str] = []
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            wrong.append(f"{name}: no tensor of a LoRA")
            continue
        ((role, text),) = ((r, t) for r, t in match.groupdict().items() if t and r != "layer")
        if text.startswith("lora_magnitude_vector"):  # (out,) or (1, out, 1, 1)
            tensor = tensor.reshape(-1, 1)
        pieces.setdefault(match["layer"], {})[text if role in ("hada", "lokr") else role] = tensor
    layers = {}
    for name, piece in pieces.items():
        try:
            layers[name] = _layer(piece)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    return layers, wrong


def _layer(piece: dict[str, Tensor]) -> Layer:
    alpha, magnitude = _alpha(piece.pop("alpha", None)), piece.pop("magnitude", None)
    kinds = {role.partition("_")[0] if "_" in role else "lora" for role in piece}
    if len(kinds) != 1:
        raise ValueError(f"tensors of several methods, or none: {', '.join(sorted(piece)) or '-'}")
    build: Callable[..., Layer] = _BUILDERS[kinds.pop()]
    return build(piece, alpha, magnitude)


def _alpha(alpha: Tensor | None) -> float | None:
    if alpha is None:
        return None
    if alpha.numel() != 1 or float(alpha) == 0:
        # Zero is the rank to kohya and no effect at all to others.
        raise ValueError(f"alpha must be one number other than 0, got {alpha.tolist()}")
    return float(alpha)


def _low_rank(piece: dict[str, Tensor], alpha: float | None, magnitude: Tensor | None) -> LowRank:
    down, up, mid = piece.get("down"), piece.get("up"), piece.get("mid")
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
    return LowRank(down, up, float(down.shape[0]) if alpha is None else alpha, magnitude)


def _hadamard(piece: dict[str, Tensor], alpha: float | None, magnitude: Tensor | None) -> Hadamard:
    found = {role.removeprefix("hada_"): tensor for role, tensor in piece.items()}
    _whole(found, needed={"w1_a", "w1_b", "w2_a", "w2_b"}, prefix="hada")
    if ("t1" in found) != ("t2" in found):
        raise ValueError("one of hada_t1 and hada_t2 is missing")
    for number in ("1", "2"):
        core = found.get(f"t{number}")
        _same_rank(found[f"w{number}_a"], found[f"w{number}_b"], core)
    rank = found["w1_b"].shape[0]
    if found["w2_b"].shape[0] != rank:
        raise ValueError(f"the ranks of hada_w1 and hada_w2 differ: {rank} and another")
    return Hadamard(**found, alpha=float(rank) if alpha is None else alpha, magnitude=magnitude)


def _kronecker(
    piece: dict[str, Tensor], alpha: float | None, magnitude: Tensor | None
) -> Kronecker:
    found: dict[str, Any] = {r.removeprefix("lokr_"): tensor for r, tensor in piece.items()}
    for number in ("1", "2"):
        if f"w{number}" not in found:
            _whole(found, needed={f"w{number}_a", f"w{number}_b"}, prefix="lokr")
            core = found.get("t2") if number == "2" else None
            _same_rank(found[f"w{number}_a"], found[f"w{number}_b"], core)
        elif found.keys() & {f"w{number}_a", f"w{number}_b", f"t{number}"}:
            raise ValueError(f"lokr_w{number} is there in full and in parts")
    layer = Kronecker(**found, alpha=1.0 if alpha is None else alpha, magnitude=magnitude)
    if alpha is not None or layer.is_full:
        return layer
    return Kronecker(**found, alpha=float(layer.rank), magnitude=magnitude)


_BUILDERS = {"lora": _low_rank, "hada": _hadamard, "lokr": _kronecker}


def _whole(found: Mapping[str, Tensor], *, needed: set[str], prefix: str) -> None:
    if missing := sorted(needed - found.keys()):
        raise ValueError(f"{prefix}_{missing[0]} is missing")


def _same_rank(a: Tensor, b: Tensor, core: Tensor | None) -> None:
    """A (n, rank), b (rank, m); with a core (rank, rank, ...) a is (rank, n)."""
    ranks = {a.shape[1], b.shape[0]} if core is None else {a.shape[0], b.shape[0], *core.shape[:2]}
    if a.dim() != 2 or b.dim() != 2 or len(ranks) != 1:
        raise ValueError(f"the ranks of {list(a.shape)} and {list(b.shape)} differ")
