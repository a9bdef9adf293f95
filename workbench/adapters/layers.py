"""One adapted layer as plain tensors: what adapter files hold and what merging adds."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from workbench.adapters.decompose import Shown, decomposed, shown_by_others
from workbench.adapters.lowrank import LowRank
from workbench.adapters.products import Hadamard, Kronecker

Layer = LowRank | Hadamard | Kronecker

__all__ = [
    "Hadamard",
    "Kronecker",
    "Layer",
    "LowRank",
    "adaptable",
    "copied",
    "factors",
    "inputs_of",
    "relative_error",
    "rows_of",
    "shown_elsewhere",
    "squared_norm",
    "tensors",
]


def factors(layer: Layer) -> dict[str, Tensor]:
    """The matrices whose product the change is.

    Args:
        layer: any.
    Returns:
        Field to tensor; those that a layer does without are left out.
    """
    found = {field: getattr(layer, field) for field in layer.file_names}
    return {field: tensor for field, tensor in found.items() if tensor is not None}


def tensors(layer: Layer) -> dict[str, Tensor]:
    """The tensors of a layer as kohya's and LyCORIS' files name them.

    Args:
        layer: any.
    Returns:
        Name behind the layer's own ("lora_down.weight", "hada_w1_a", "alpha", "dora_scale") to
        tensor; alpha and dora_scale are fp32.
    """
    stored = layer.folded() if isinstance(layer, Kronecker) else layer
    found = {layer.file_names[field]: tensor for field, tensor in factors(stored).items()}
    found["alpha"] = torch.tensor(layer.alpha, dtype=torch.float32)
    if layer.magnitude is not None:
        found["dora_scale"] = layer.magnitude.float()
    return found


def copied(layer: Layer, device: str = "cpu") -> Layer:
    """A layer with tensors of its own.

    Args:
        layer: any.
        device: where they lie; "meta" keeps their shapes alone.
    Returns:
        The same values.
    """
    own = factors(layer) | ({} if layer.magnitude is None else {"magnitude": layer.magnitude})
    return replace(layer, **{name: t.detach().to(device, copy=True) for name, t in own.items()})


def inputs_of(layer: Layer) -> int | None:
    """How many inputs a layer has.

    Args:
        layer: any.
    Returns:
        Their number, that of channels for a convolution; None where it needs the module to tell.
    """
    if isinstance(layer, LowRank):
        return layer.down.shape[1]
    return layer.w1_b.shape[1] if isinstance(layer, Hadamard) else None


def rows_of(layer: Layer, count: int) -> list[Layer]:
    """Split a layer whose weight is several in one, row below row.

    Args:
        layer: of a linear module.
        count: how many equal parts.
    Returns:
        A layer for each.
    Raises:
        ValueError: the rows do not divide, or the method does not let them.
    """
    lengths = layer.magnitude
    if isinstance(layer, Kronecker) or (lengths is not None and lengths.shape[0] == 1):
        what = "LoKr" if isinstance(layer, Kronecker) else "DoRA of inputs"
        raise ValueError(
            f"a {what} of {count} joined modules, which cannot be split among them; make a plain "
            "LoRA of it with the program that trained it"
        )
    rows = layer.up.shape[0] if isinstance(layer, LowRank) else layer.w1_a.shape[0]
    if rows % count or (isinstance(layer, Hadamard) and layer.t1 is not None):
        raise ValueError(f"its {rows} rows cannot be split among {count} modules")
    fields = ("up",) if isinstance(layer, LowRank) else ("w1_a", "w2_a")
    split = {field: getattr(layer, field).chunk(count) for field in fields}
    if lengths is not None:
        split["magnitude"] = lengths.reshape(rows, -1).chunk(count)
    parts = ({field: pieces[i] for field, pieces in split.items()} for i in range(count))
    return [replace(layer, **own) for own in parts]


def adaptable(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a model that can carry an adapter, in the model's own order.

    Args:
        part: U-Net or text encoder, without an adapter.
    Yields:
        Path inside the part, and the linear layer or convolution.
    Raises:
        ValueError: an adapter is on the model, so its layers are hidden inside others.
    """
    for path, module in part.named_modules():
        if hasattr(module, "get_base_layer"):
            raise ValueError(f"{path} holds an adapter already; detach() that one first")
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            yield path, module


def squared_norm(layer: Layer, weight: Tensor) -> Tensor:
    """How large a layer's change is: |dW|^2, on its device.

    |up down|^2 = sum((up' up) o (down down')): two products as small as the rank take the place of
    dW itself, a third of its time on critters and less on wide layers.

    Args:
        layer: any.
        weight: the base's, which a DoRA's change depends on.
    Returns:
        A number, fp32; exactly 0 where a LoRA's B is.
    """
    if not isinstance(layer, LowRank) or layer.magnitude is not None:
        return layer.delta(weight).square().sum()
    down, up = layer.down.float().flatten(1), layer.up.float().flatten(1)
    small = (up.T @ up).mul_(down @ down.T).sum()
    return small.clamp(min=0) * layer.scale**2  # rounding may leave it just below


def relative_error(
    stored: Mapping[str, Layer], exact: Mapping[str, Layer], *, weights: Mapping[str, Tensor]
) -> dict[str, float]:
    """How much rounding changed each layer's dW.

    Args:
        stored: name to layer after rounding.
        exact: the same names before.
        weights: name to the base's weight.
    Returns:
        Name to |dW stored - dW| / |dW|; 0 where dW is zero.
    """
    errors = {}
    for name, layer in exact.items():
        delta = layer.delta(weights[name])
        size = delta.norm()
        difference = (stored[name].delta(weights[name]).to(delta) - delta).norm()
        errors[name] = float(difference / size) if size > 0 else float(difference)
    return errors


def shown_elsewhere(
    layers: Mapping[str, Layer],
    *,
    weights: Mapping[str, Tensor],
    shown: Shown = shown_by_others,
    of: Literal["change", "weight"] = "change",
) -> dict[str, float]:
    """How far a program is off that makes another weight of a DoRA, layer by layer.

    Args:
        layers: name to layer.
        weights: name to the base's weight.
        shown: the program's formula; ComfyUI's, which divides by |W|.
        of: what the difference is a share of.
    Returns:
        Name to |W there - W'|, over |W' - W| or |W'|; layers without DoRA's lengths are left out.
    """
    found = {}
    for name, layer in layers.items():
        if layer.magnitude is None:
            continue
        product = layer.product()
        weight = weights[name].detach().to(product)
        product, length = product.reshape(weight.shape), layer.magnitude.to(product)
        ours = decomposed(weight, product, length)
        off = (shown(weight, product, length) - ours).norm()
        whole = ours if of == "weight" else ours - weight
        found[name] = float(off / whole.norm().clamp(min=1e-30))
    return found
