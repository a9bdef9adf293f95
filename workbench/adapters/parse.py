"""Tensors of an adapter file -> layers, in the spellings of kohya, LyCORIS, PEFT and others."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.adapters.layers import Hadamard, Kronecker, Layer, LowRank

_NAMED = r"(?:\.default(?:_\d+)?)?"  # PEFT's name of the adapter
_TENSOR = re.compile(
    r"(?P<layer>.+?)(?:"
    rf"(?P<down>(?:\.(?:lora_down|lora_A{_NAMED}|lora\.down|lora_linear_layer\.down|lora_layer\.down)"
    r"|_lora\.down)(?:\.weight)?)|"
    rf"(?P<up>(?:\.(?:lora_up|lora_B{_NAMED}|lora\.up|lora_linear_layer\.up|lora_layer\.up)"
    r"|_lora\.up)(?:\.weight)?)|"
    r"(?P<mid>\.lora_mid\.weight)|"
    rf"(?P<magnitude>\.(?:dora_scale|lora_magnitude_vector{_NAMED}(?:\.weight)?))|"
    rf"\.(?P<hada>hada_(?:w[12]_[ab]|t[12])){_NAMED}|"
    rf"\.(?P<lokr>lokr_(?:w[12](?:_[ab])?|t2)){_NAMED}|"
    r"(?P<alpha>(?:_lora)?\.alpha)|"
    r"(?P<scalar>\.scalar))"
)
# The factor that LyCORIS multiplies its `scalar` into when it saves.
_FIRST = ("up", "hada_w1_a", "lokr_w1", "lokr_w1_a")


class Parsed(NamedTuple):
    """The layers of a file.

    Attributes:
        layers: name to layer.
        own_alpha: names of those that have a tensor for alpha.
        wrong: a line for everything that is no whole layer.
    """

    layers: dict[str, Layer]
    own_alpha: set[str]
    wrong: list[str]


def layers_of(tensors: Mapping[str, Tensor]) -> Parsed:
    """Group tensors into layers.

    Args:
        tensors: name to tensor, of a whole file.
    Returns:
        The layers. A missing alpha is the rank; a LoCon's Tucker core is multiplied into `down`,
        LyCORIS' `scalar` into the first factor.
    """
    pieces: dict[str, dict[str, Tensor]] = {}
    wrong: list[str] = []
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            wrong.append(f"{name}: no tensor of a LoRA")
            continue
        ((role, text),) = ((r, t) for r, t in match.groupdict().items() if t and r != "layer")
        if "lora_magnitude_vector" in text:  # (out,) or (1, out, 1, 1)
            tensor = tensor.reshape(-1, 1)
        piece = pieces.setdefault(match["layer"], {})
        role = text if role in ("hada", "lokr") else role
        if role in piece:
            wrong.append(f"{name}: a second {role} of one layer")
        piece[role] = tensor
    layers: dict[str, Layer] = {}
    own_alpha = {name for name, piece in pieces.items() if "alpha" in piece}
    for name, piece in pieces.items():
        try:
            layers[name] = _layer(piece)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    return Parsed(layers, own_alpha, wrong)


def _layer(piece: dict[str, Tensor]) -> Layer:
    alpha, magnitude = _alpha(piece.pop("alpha", None)), piece.pop("magnitude", None)
    if (scalar := piece.pop("scalar", None)) is not None:
        _multiply(piece, scalar)
    if empty := sorted(role for role, tensor in piece.items() if tensor.numel() == 0):
        raise ValueError(
            f"rank 0: {empty[0]} is {list(piece[empty[0]].shape)}; the layer was resized to "
            "nothing, and programs divide by its rank: resize the file again, at rank 1 or more"
        )
    kinds = {role.partition("_")[0] if "_" in role else "lora" for role in piece}
    if len(kinds) != 1:
        raise ValueError(f"tensors of several methods, or none: {', '.join(sorted(piece)) or '-'}")
    build: Callable[..., Layer] = _BUILDERS[kinds.pop()]
    return build(piece, alpha, magnitude)


def _multiply(piece: dict[str, Tensor], scalar: Tensor) -> None:
    """LyCORIS' `use_scalar`: files of before version 3 hold the factor apart."""
    first = next((role for role in _FIRST if role in piece), None)
    if first is None or scalar.numel() != 1:
        raise ValueError(f"scalar {list(scalar.shape)} must be one number beside a layer")
    piece[first] = piece[first].float() * scalar.float().reshape(())


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
