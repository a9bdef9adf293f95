"""What an optimizer keeps for each weight, held against what its paper or maker says."""

import pytest
import torch
from pydantic import TypeAdapter

from workbench.optim import Optimizer
from workbench.optim.footprint import state_bytes_per_weight

# Averages of four bytes; 8-bit ones with a float32 scale for each block of 256 weights, and their
# table of 256 numbers, 1 KiB of the million weights that are looked at.
BLOCK, TABLE = 4 / 256, 1024 / 2**20
EXPECTED = {
    "lion": 4.0,
    "adamw": 8.0,
    "lion8bit": 1 + BLOCK + TABLE,
    "adamw8bit": 2 * (1 + BLOCK + TABLE),
    "adafactor": 2 * 4 / 1024,  # a row and a column
    "schedule_free": 8.0,
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_bytes_of_a_weight(kind: str):
    optimizer = TypeAdapter(Optimizer).validate_python({"kind": kind})
    assert state_bytes_per_weight(optimizer, torch.float32) == pytest.approx(
        EXPECTED[kind], rel=0.001
    )


def test_averages_follow_the_weights_type():
    optimizer = TypeAdapter(Optimizer).validate_python({"kind": "lion"})
    assert state_bytes_per_weight(optimizer, torch.bfloat16) == 2
