"""Small states that differ from step to step, and checkpoints of them."""

import torch

from workbench.records.checkpoint import (
    Bundle,
    save,
)


def states(step):
    """Small states that differ in every part from step to step."""
    return {
        "adapter": {"unet.a": torch.full((3, 2), float(step)), "unet.b": torch.tensor([step])},
        "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}, "lr": 0.1 / step},
        "cursor": {"step": step, "loss": float("nan")},
    }


def save_steps(folder, *steps, keep=2):
    for step in steps:
        save(folder, step, Bundle.pack(states(step)), recipe_hash="abc", keep=keep)


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def flip(path, position):
    """Flip one bit in the middle of a byte."""
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 0x10
    path.write_bytes(data)
