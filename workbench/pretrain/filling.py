"""The base that fills in, from the base that does not: what it begins as, and what ships of it.

The U-Net itself is trained by the product's own loop, see docs/critters.md.
"""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from workbench import store
from workbench.critters import BASE
from workbench.critters.draw import WORLD_SIZES, world
from workbench.critters.inpainting import DIFFERENCE, FIRST, widened, write
from workbench.pretrain.stages import SQUARE, TRAINING_WORLD

NUM_BYTES = 2_900_000
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


def difference(trained: Path, *, num_bytes: int = NUM_BYTES) -> dict[str, Tensor]:
    """Take what training changed as low-rank factors, float16.

    Ranks go where a number kept carries the most of the change: singular values of all layers
    compete, each at the price of its two vectors.

    Args:
        trained: diffusers folder that a full fine-tune of `begin`'s ended with.
        num_bytes: that the factors may take; the first convolution is kept whole beside them.
    Returns:
        What `workbench.critters.inpainting.write` takes.
    """
    before, after = store.load_tensors(BASE / _UNET), store.load_tensors(trained / _UNET)
    parts: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    worth: list[tuple[float, int, str]] = []
    for name, tensor in after.items():
        path, _, kind = name.rpartition(".")
        if name == FIRST or kind != "weight" or tensor.ndim < 2:
            continue
        change = (tensor.float() - before[name].float()).flatten(1)
        if not change.any():
            continue
        parts[path] = torch.linalg.svd(change, full_matrices=False)
        price = 2 * sum(change.shape)  # bytes of one rank in float16
        worth += [(float(s) ** 2 / price, price, path) for s in parts[path][1]]
    ranks: Counter[str] = Counter()
    for _, price, path in sorted(worth, reverse=True):
        if price > num_bytes:
            break
        num_bytes -= price
        ranks[path] += 1
    found = {FIRST: after[FIRST].half()}
    for path, rank in ranks.items():
        u, s, vh = parts[path]
        root = s[:rank].sqrt()
        found[f"{path}.up"] = (u[:, :rank] * root).half().contiguous()
        found[f"{path}.down"] = (root[:, None] * vh[:rank]).half().contiguous()
    return found


def pack(trained: Path, file: Path = DIFFERENCE, *, num_bytes: int = NUM_BYTES) -> Path:
    """Write the file that ships.

    Args:
        trained: see `difference`.
        file: where.
        num_bytes: see `difference`.
    Returns:
        The file.
    """
    return store.save_tensors(file, difference(trained, num_bytes=num_bytes))
