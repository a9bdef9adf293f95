"""DoRA's formula against numpy, and ComfyUI's against its own code."""

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.adapters.decompose import (
    decomposed,
    fitted_magnitude,
    shown_by_others,
    start_magnitude,
)
from workbench.adapters.layers import LowRank, shown_elsewhere

SHAPES = [(6, 5), (6, 5, 3, 3), (5, 5, 1, 1)]


def draws(shape: tuple[int, ...], scale: float = 0.3) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=draw), scale * torch.randn(shape, generator=draw)


def comfy(weight: Tensor, dora_scale: Tensor, lora_diff: Tensor) -> Tensor:
    """ComfyUI's weight_decompose at strength 1, as its file has it."""
    weight_calc = weight + lora_diff
    wd_on_output_axis = dora_scale.shape[0] == weight_calc.shape[0]
    if wd_on_output_axis:
        weight_norm = (
            weight.reshape(weight.shape[0], -1)
            .norm(dim=1, keepdim=True)
            .reshape(weight.shape[0], *[1] * (weight.dim() - 1))
        )
    else:
        weight_norm = (
            weight_calc.transpose(0, 1)
            .reshape(weight_calc.shape[1], -1)
            .norm(dim=1, keepdim=True)
            .reshape(weight_calc.shape[1], *[1] * (weight_calc.dim() - 1))
            .transpose(0, 1)
        )
    weight_norm = weight_norm + torch.finfo(weight.dtype).eps
    return weight_calc * (dora_scale / weight_norm)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_get_the_magnitudes_as_lengths(shape: tuple[int, ...]) -> None:
    weight, product = draws(shape)
    magnitude = torch.linspace(1, 2, shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    made = decomposed(weight, product, magnitude).numpy()
    rows = made.reshape(shape[0], -1)
    assert np.allclose(np.linalg.norm(rows, axis=1), np.linspace(1, 2, shape[0]), atol=1e-5)
    moved = (weight + product).numpy().reshape(shape[0], -1)
    cosines = (rows * moved).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(moved, axis=1)
    assert np.allclose(cosines, 1, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_start_changes_nothing(shape: tuple[int, ...]) -> None:
    weight, _ = draws(shape)
    start = start_magnitude(weight)
    assert start.shape == (shape[0], *(1,) * (len(shape) - 1)) and start.dtype == torch.float32
    assert torch.equal(decomposed(weight, torch.zeros(shape), start), weight)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_what_others_show_is_what_comfyui_computes(shape: tuple[int, ...], axis: int) -> None:
    weight, product = draws(shape)
    ones = (1,) * (len(shape) - 2)
    count = shape[axis]
    magnitude = torch.linspace(1, 2, count).reshape((count, 1) if axis == 0 else (1, count))
    magnitude = magnitude.reshape(*magnitude.shape, *ones)
    if axis == 1 and shape[0] == shape[1]:
        return  # ComfyUI takes the first axis for that of outputs then
    expected = comfy(weight, magnitude, product)
    assert torch.allclose(shown_by_others(weight, product, magnitude), expected, atol=1e-5)


def test_how_far_others_are_off() -> None:
    """Rows that grow by the factor f are shown f times as long."""
    weight = torch.eye(4)
    down, up = torch.eye(4), 0.5 * torch.eye(4)
    magnitude = torch.ones(4, 1)
    off = shown_elsewhere({"a": LowRank(down, up, 4.0, magnitude)}, weights={"a": weight})
    assert off["a"] > 1e6, "W' is W here, and they show 1.5 W"
    magnitude = 2 * magnitude
    off = shown_elsewhere({"a": LowRank(down, up, 4.0, magnitude)}, weights={"a": weight})
    assert off["a"] == pytest.approx(1.0), "they show 3 W in place of 2 W"
    assert shown_elsewhere({"a": LowRank(down, up, 4.0)}, weights={"a": weight}) == {}


@pytest.mark.parametrize(
    ("given", "weight", "fitted"),
    [
        ((6,), (6, 5), (6, 1)),
        ((6, 1), (6, 5, 3, 3), (6, 1, 1, 1)),
        ((6, 1, 1, 1), (6, 5), (6, 1)),
        ((1, 5), (6, 5), (1, 5)),
        ((1, 5, 1, 1), (5, 5, 3, 3), (1, 5, 1, 1)),
        ((5, 1), (5, 5), (5, 1)),
    ],
)
def test_magnitudes_in_the_shapes_of_files(given, weight, fitted) -> None:
    found = fitted_magnitude(torch.ones(given), torch.ones(weight))
    assert found is not None and found.shape == fitted


def test_a_magnitude_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dora_scale \[4\] does not fit a weight of \[6, 5\]"):
        fitted_magnitude(torch.ones(4), torch.ones(6, 5))
