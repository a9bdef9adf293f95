"""Any adapter as a plain LoRA, which every program reads, and how much of it that loses."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.adapters.files import Format, read, resolve
from workbench.adapters.formats import write_as
from workbench.adapters.kohya import NameOf
from workbench.adapters.layers import LowRank, factors


def reduce(
    source: str | Path,
    target: str | Path,
    *,
    rank: int,
    to: Format,
    parts: Mapping[str, nn.Module],
    name_of: NameOf,
) -> dict[str, float]:
    """Write an adapter as a plain LoRA: of each layer's change, the largest singular directions.

    Args:
        source: a LoRA, DoRA, LoHa or LoKr.
        target: a .safetensors path.
        rank: of the LoRA; where a layer has fewer directions, that many.
        to: "kohya" or "peft".
        parts: the base's models: a DoRA's change depends on them.
        name_of: (part, path) to a layer's name in kohya's format.
    Returns:
        "<part>.<path>" to |dW - LoRA| / |dW|: what was lost.
    Raises:
        FileRefused: the source is unsound or fits no such model.
    """
    file = read(source)
    layers: dict[tuple[str, str], LowRank] = {}
    errors: dict[str, float] = {}
    dtype = next(iter(factors(next(iter(file.layers.values()))).values())).dtype
    for part, own in resolve(file, parts, name_of=name_of).items():
        for path, layer in own.items():
            weight: Tensor = parts[part].get_submodule(path).weight  # pyright: ignore[reportAssignmentType]
            plain, error = nearest(layer.delta(weight.detach().cpu()), rank)
            layers[part, path] = plain
            errors[f"{part}.{path}"] = error
    write_as(Path(target), layers, to=to, name_of=name_of, dtype=dtype, metadata=file.metadata)
    return errors


@torch.no_grad()
def nearest(delta: Tensor, rank: int) -> tuple[LowRank, float]:
    """The LoRA nearest to a change of a weight.

    By the eigenvectors of dW dW^T in fp64 in place of a singular value decomposition: the same
    directions, ten times faster for a wide convolution.

    Args:
        delta: dW, (out, in) or (out, in, height, width).
        rank: of the LoRA.
    Returns:
        The LoRA, its alpha its rank, and |dW - LoRA| / |dW|; 0 where dW is zero.
    Source: Eckart and Young 1936.
    """
    matrix = delta.flatten(1).double()
    rank = min(rank, *matrix.shape)
    tall = matrix.shape[0] > matrix.shape[1]
    square = matrix.T @ matrix if tall else matrix @ matrix.T
    values, vectors = torch.linalg.eigh(square)
    kept = vectors[:, -rank:].flip(1)  # eigh sorts upwards
    root = values[-rank:].flip(0).clamp(min=0).pow(0.25)
    # With dW = U S V^T: the one side is U sqrt(S), the other U^T dW / sqrt(S) = sqrt(S) V^T.
    # Directions that are only rounding stay zero.
    divisor = torch.where(root > 1e-4 * root.max(), root, torch.inf)
    if tall:
        up, down = matrix @ kept / divisor, (kept * root).T
    else:
        up, down = kept * root, (kept.T @ matrix) / divisor[:, None]
    ones = (1,) * (delta.dim() - 2)
    layer = LowRank(
        down.float().unflatten(1, delta.shape[1:]).contiguous(),
        up.float().reshape(*up.shape, *ones).contiguous(),
        float(rank),
    )
    size = delta.norm()
    error = (layer.delta() - delta.float()).norm()
    return layer, float(error / size) if size > 0 else 0.0
