"""One adapted layer as plain tensors: what adapter files hold and what merging adds."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from workbench.adapters.decompose import decomposed, shown_by_others
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
    "relative_error",
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
    layers: Mapping[str, Layer], *, weights: Mapping[str, Tensor]
) -> dict[str, float]:
    """How far programs that divide by |W| are off, as ComfyUI does, for each layer of a DoRA.

    Args:
        layers: name to layer.
        weights: name to the base's weight.
    Returns:
        Name to |W there - W'| / |W' - W|; layers without DoRA's lengths are left out.
    """
    found = {}
    for name, layer in layers.items():
        if layer.magnitude is None:
            continue
        product = layer.product()
        weight = weights[name].detach().to(product)
        product, length = product.reshape(weight.shape), layer.magnitude.to(product)
        ours = decomposed(weight, product, length)
        off = (shown_by_others(weight, product, length) - ours).norm()
        found[name] = float(off / (ours - weight).norm().clamp(min=1e-30))
    return found
