"""How much memory an optimizer keeps for each weight, measured on a small matrix."""

import torch
from torch.utils._pytree import tree_leaves

from workbench.optim.optimizers import Optimizer

__all__ = ["state_bytes_per_weight"]

_SIDE = 1024  # so large that what 8-bit optimizers keep once does not count


def state_bytes_per_weight(settings: Optimizer, dtype: torch.dtype) -> float:
    """Take one step with a matrix and weigh what the optimizer then keeps.

    Args:
        settings: which optimizer.
        dtype: of the weights that it moves.
    Returns:
        Bytes: 8 for AdamW in float32, 1 for 8-bit Lion; of those that keep a row and a column in
        place of a matrix, next to nothing.
    Raises:
        SettingsError: its package is not installed.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(_SIDE, _SIDE, dtype=dtype))
    weight.grad = torch.randn(_SIDE, _SIDE, generator=generator).to(dtype)
    optimizer = settings.build(settings.groups({"unet": [weight]}))
    optimizer.step()
    kept = {id(t): t for t in tree_leaves(dict(optimizer.state)) if isinstance(t, torch.Tensor)}
    kept.pop(id(weight), None)
    return sum(tensor.nbytes for tensor in kept.values()) / weight.numel()
