"""DoRA: the rows of a weight keep a direction and a length, and each learns on its own.

Source: Liu et al. 2024, arXiv 2402.09353.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# (W, dW, m) to the weight that a program makes of them.
Shown = Callable[[Tensor, Tensor, Tensor], Tensor]


def decomposed(weight: Tensor, product: Tensor, magnitude: Tensor) -> Tensor:
    """The weight that a DoRA makes: W' = m (W + dW) / |W + dW|.

    Args:
        weight: W, (out, in) or (out, in, height, width).
        product: dW, the low-rank change, in the same shape.
        magnitude: m, (out, 1[, 1, 1]), or (1, in[, 1, 1]) in files that normalise inputs.
    Returns:
        W', in the shape of `weight`.
    """
    moved = weight + product
    return moved * (magnitude / lengths(moved, like=magnitude))  # W itself where the ratio is 1


def change(product: Tensor, magnitude: Tensor | None, weight: Tensor | None) -> Tensor:
    """What an adapter adds to a weight, W' - W.

    Args:
        product: the product of the adapter's factors.
        magnitude: a DoRA's lengths, else None.
        weight: W; a DoRA cannot do without it.
    Returns:
        dW in the weight's shape; without `weight`, in that of `product`.
    """
    if weight is None:
        assert magnitude is None, "the change of a DoRA depends on the weight"
        return product
    product = product.reshape(weight.shape)
    if magnitude is None:
        return product
    weight = weight.detach().to(product)
    return decomposed(weight, product, magnitude.to(product)) - weight


def shown_by_others(weight: Tensor, product: Tensor, magnitude: Tensor) -> Tensor:
    """The weight that ComfyUI and its kin make of the same file: they divide by |W|.

    Args:
        weight: W.
        product: dW.
        magnitude: m.
    Returns:
        m (W + dW) / |W| for magnitudes of outputs; for those of inputs they compute W' too.
    Source: ComfyUI, comfy/weight_adapter/base.py, weight_decompose.
    """
    if not _of_outputs(weight, magnitude):
        return decomposed(weight, product, magnitude)
    return magnitude * (weight + product) / lengths(weight, like=magnitude)


def shown_by_inputs(weight: Tensor, product: Tensor, magnitude: Tensor) -> Tensor:
    """The weight that A1111 and Forge make of the same file: they divide along the inputs.

    Args:
        weight: W, (out, in[, height, width]).
        product: dW.
        magnitude: m, of outputs or of inputs; they take either for one of inputs.
    Returns:
        m (W + dW) / |W + dW| with the length of each input's column, whatever m belongs to.
    Source: A1111, extensions-builtin/Lora/network.py, apply_weight_decompose; LyCORIS without
        `wd_on_output`.
    """
    moved = weight + product
    axes = tuple(axis for axis in range(moved.dim()) if axis != 1)
    return moved * (magnitude / torch.linalg.vector_norm(moved, dim=axes, keepdim=True))


def shown_without(weight: Tensor, product: Tensor, magnitude: Tensor) -> Tensor:
    """The weight of programs that read the low-rank matrices and drop the lengths.

    Args:
        weight: W.
        product: dW.
        magnitude: m, not used.
    Returns:
        W + dW, in the weight's shape.
    """
    return weight + product


def lengths(weight: Tensor, *, like: Tensor) -> Tensor:
    """Euclidean lengths of a weight's rows, in the shape that a magnitude has.

    Args:
        weight: (out, in[, height, width]).
        like: a magnitude, whose shape says which axis it runs along.
    Returns:
        Lengths, at least the smallest positive number, so that a row of zeros stays zero.
    """
    kept = 0 if _of_outputs(weight, like) else 1
    axes = tuple(axis for axis in range(weight.dim()) if axis != kept)
    found = torch.linalg.vector_norm(weight, dim=axes, keepdim=True)
    return found.clamp(min=torch.finfo(found.dtype).tiny)


def start_magnitude(weight: Tensor) -> Tensor:
    """The lengths that a DoRA starts with, so that it changes nothing.

    Args:
        weight: W, (out, in[, height, width]).
    Returns:
        |W| of each output, (out, 1[, 1, 1]), fp32.
    """
    like = weight.new_empty(weight.shape[0], *(1,) * (weight.dim() - 1))
    return lengths(weight.detach().float(), like=like)


def fitted_magnitude(magnitude: Tensor | None, weight: Tensor) -> Tensor | None:
    """A magnitude in the shape that multiplies a weight.

    Args:
        magnitude: one number for each output, or (1, in, ...); None stays None.
        weight: (out, in[, height, width]).
    Returns:
        (out, 1[, 1, 1]) or (1, in[, 1, 1]), fp32.
    Raises:
        ValueError: it has another number of entries.
    """
    if magnitude is None:
        return None
    ones = (1,) * (weight.dim() - 2)
    flat, inputs = magnitude.float().reshape(-1), magnitude.dim() > 1 and magnitude.shape[0] == 1
    if flat.numel() == weight.shape[0] and not (inputs and weight.shape[0] > 1):
        return flat.reshape(-1, 1, *ones)
    if inputs and flat.numel() == weight.shape[1]:
        return flat.reshape(1, -1, *ones)
    raise ValueError(
        f"dora_scale {list(magnitude.shape)} does not fit a weight of {list(weight.shape)}"
    )


def of_outputs(magnitude: Tensor) -> bool:
    """Whether a fitted magnitude has one number for each output, as peft and LyCORIS train it.

    Args:
        magnitude: what `fitted_magnitude` returned.
    Returns:
        False for files that normalise inputs.
    """
    return magnitude.shape[1] == 1


def _of_outputs(weight: Tensor, magnitude: Tensor) -> bool:
    return magnitude.shape[0] == weight.shape[0]
