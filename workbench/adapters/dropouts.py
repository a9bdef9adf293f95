"""Dropouts that peft's LoRA lacks, as hooks: parts of the bottleneck, and whole adapters."""

from typing import Any

import torch
from torch import Tensor, nn


def drop_ranks(down: nn.Module, share: float) -> None:
    """Leave out parts of the bottleneck, other ones for each sample, and scale up what is left.

    Args:
        down: A, a linear layer or a convolution.
        share: of the ranks that are left out while the layer trains, in [0, 1).
    Source: kohya sd-scripts, `rank_dropout`.
    """

    def mask(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if not module.training:
            return None
        axis = 1 if isinstance(module, nn.Conv2d) else -1
        shape = [1] * output.dim()
        shape[0], shape[axis] = output.shape[0], output.shape[axis]
        kept = torch.rand(shape, device=output.device) >= share
        return output * kept.to(output.dtype) / (1 - share)

    down.register_forward_hook(mask)


def skip_adapters(wrapped: Any, share: float) -> None:
    """Let a layer do without its adapter now and then, for a whole batch.

    Args:
        wrapped: peft's layer.
        share: of the batches it goes without while it trains, in [0, 1).
    Source: kohya sd-scripts, `module_dropout`.
    """
    skipped = [False]

    def before(module: Any, args: Any) -> None:
        skip = module.training and not module.disable_adapters and float(torch.rand(1)) < share
        skipped[0] = skip
        if skip:
            # Not enable_adapters(False): that would also freeze the weights.
            module._disable_adapters = True

    def after(module: Any, args: Any, output: Any) -> None:
        if skipped[0]:
            module._disable_adapters = skipped[0] = False

    wrapped.register_forward_pre_hook(before)
    # Also after an exception: gradient checkpointing ends a recomputed forward pass with one.
    wrapped.register_forward_hook(after, always_call=True)
