"""Numbers in adapter files: 8-bit floats are widened and scaled, integers are refused by name."""

from collections.abc import Mapping

import torch
from torch import Tensor

from workbench.store import FileRefused

Header = Mapping[str, tuple[str, tuple[int, ...]]]

_PLAIN = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_SCALES = (".weight_scale", ".scale_weight")
_MARKS = ("scaled_fp8", ".input_scale", ".scale_input")  # of the layout; for activations alone
_EIGHT_BIT = (torch.float8_e4m3fn, torch.float8_e5m2)


def refuse_quantised(path: object, header: Header) -> None:
    """Refuse numbers that mean nothing without the code that packed them.

    Args:
        path: of the file, for the error.
        header: name to type and shape.
    Raises:
        FileRefused: integers, 4-bit floats or other packed types.
    """
    for name, (dtype, shape) in header.items():
        size = 1
        for side in shape:
            size *= side
        if dtype not in _PLAIN and size > 1:  # alpha may be an integer
            raise FileRefused(
                f"{path}: quantised: {name} is of type {dtype}, whose values cannot be told "
                "without the program that packed them; save the LoRA in float16, bfloat16 or "
                "float32 with that program"
            )


def widened(tensors: Mapping[str, Tensor], path: object) -> dict[str, Tensor]:
    """Turn 8-bit floats into float32, multiplied by the scales that lie beside them.

    Args:
        tensors: of a whole file.
        path: of the file, for errors.
    Returns:
        Name to tensor, without the scales.
    Raises:
        FileRefused: a scale belongs to nothing, or fits no axis.
    """
    found: dict[str, Tensor] = {}
    scales: dict[str, tuple[str, Tensor]] = {}
    for name, tensor in tensors.items():
        ending = next((ending for ending in _SCALES if name.endswith(ending)), None)
        if ending is not None:
            scales[f"{name.removesuffix(ending)}.weight"] = (name, tensor.float())
        elif not name.endswith(_MARKS):
            found[name] = tensor.float() if tensor.dtype in _EIGHT_BIT else tensor
    for name, (scale_name, scale) in scales.items():
        if name not in found:
            raise FileRefused(f"{path}: {scale_name} scales {name}, which is not there")
        found[name] = _scaled(found[name], scale, f"{path}: {scale_name}")
    return found


def _scaled(weight: Tensor, scale: Tensor, where: str) -> Tensor:
    if scale.numel() == 1:
        return weight.float() * scale.reshape(())
    if scale.numel() == weight.shape[0] and scale.shape[0] == weight.shape[0]:
        return weight.float() * scale.reshape(-1, *(1,) * (weight.dim() - 1))
    raise FileRefused(
        f"{where} {list(scale.shape)} must be one number or one for each row of a weight of "
        f"{list(weight.shape)}; block scales are not read: save the LoRA in float16 or float32"
    )
