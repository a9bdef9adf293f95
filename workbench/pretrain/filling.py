"""The base that fills in, from the base that does not: what it begins as, and what ships of it.

The U-Net itself is trained by the product's own loop, see docs/critters.md.
"""

from pathlib import Path

import torch
from torch import Tensor

from workbench import store
from workbench.critters import BASE
from workbench.critters.draw import WORLD_SIZES, world
from workbench.critters.inpainting import DIFFERENCE, FIRST, widened, write
from workbench.pretrain.stages import SQUARE, TRAINING_WORLD

RANK = 24
NUM_PICTURES = 1000
_UNET = "unet/diffusion_pytorch_model.safetensors"


def write_pictures(folder: Path, *, count: int = NUM_PICTURES) -> None:
    """Write the pictures that it learns from, each with its caption.

    Args:
        folder: made if it is not there.
        count: how many.
    """
    for index in range(count):
        image, text = world(TRAINING_WORLD, index, SQUARE * 2 + WORLD_SIZES)
        path = folder / f"{index:05d}.png"
        store.write_bytes(path, store.png(image))
        store.write_text(path.with_suffix(".txt"), text + "\n")


def begin(folder: Path) -> None:
    """Write the base with nine channels that reads nothing of what is beside yet.

    Args:
        folder: absent, or empty.
    """
    write(folder, widened())


def difference(trained: Path, *, rank: int = RANK) -> dict[str, Tensor]:
    """Take what training changed as low-rank factors, float16.

    Args:
        trained: diffusers folder that a full fine-tune of `begin`'s ended with.
        rank: of each layer that changed; the first convolution is kept whole.
    Returns:
        What `workbench.critters.inpainting.write` takes.
    """
    before, after = store.load_tensors(BASE / _UNET), store.load_tensors(trained / _UNET)
    found = {FIRST: after[FIRST].half()}
    for name, tensor in after.items():
        path, _, kind = name.rpartition(".")
        if name == FIRST or kind != "weight" or tensor.ndim < 2:
            continue
        change = (tensor.float() - before[name].float()).flatten(1)
        u, s, vh = torch.linalg.svd(change, full_matrices=False)
        root = s[:rank].sqrt()
        found[f"{path}.up"] = (u[:, :rank] * root).half().contiguous()
        found[f"{path}.down"] = (root[:, None] * vh[:rank]).half().contiguous()
    return found


def pack(trained: Path, file: Path = DIFFERENCE, *, rank: int = RANK) -> Path:
    """Write the file that ships.

    Args:
        trained: see `difference`.
        file: where.
        rank: see `difference`.
    Returns:
        The file.
    """
    return store.save_tensors(file, difference(trained, rank=rank))
