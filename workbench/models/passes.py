"""What one pass through a U-Net takes, forward and backward: counted on the device "meta".

Nothing is computed and no memory is taken, so that a model that fits no machine here can be asked.
What autocast does on a GPU is done by hand, since "meta" has no autocast: norms in float32, matrix
products in the narrow type, fused attention that keeps no table of tokens by tokens.
"""

import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

__all__ = ["Pass", "count_pass"]

_NARROW = frozenset(
    {
        *(functional.linear, functional.conv2d, functional.scaled_dot_product_attention),
        *(torch.bmm, torch.baddbmm, torch.matmul),
    }
)
_WIDE = frozenset({functional.group_norm, functional.layer_norm, functional.softmax})
_SIZES = 6  # numbers that SDXL is told of a picture: its sides, crop, target


@dataclass(frozen=True, slots=True)
class Pass:
    """What a forward and a backward pass take.

    Attributes:
        flop: floating-point operations; a multiplication and an addition are two.
        activation_bytes: most memory at a time, beside weights and gradients.
    """

    flop: int
    activation_bytes: int


def count_pass(
    unet: Any,
    latents: tuple[int, int, int, int],
    *,
    num_tokens: int,
    precision: torch.dtype,
    recomputing: bool,
) -> Pass:
    """Count what one micro-batch takes.

    Args:
        unet: a `UNet2DConditionModel` on "meta", which learns.
        latents: pictures, channels, height, width of what goes in.
        num_tokens: of a caption.
        precision: of the matrix products.
        recomputing: gradient checkpointing.
    Returns:
        Operations and memory; gradients are there already, as from the second micro-batch on.
    """
    unet.train().requires_grad_(True)
    unet.disable_gradient_checkpointing()
    if recomputing:
        # torch runs the backward pass outside of `_AsOnGpu`: what is computed again enters it anew.
        contexts = lambda: (nullcontext(), _AsOnGpu(precision))  # noqa: E731
        again = partial(checkpoint, use_reentrant=False, context_fn=contexts)
        unet.enable_gradient_checkpointing(again)
    for weight in unet.parameters():
        weight.grad = torch.empty_like(weight)
    known = [t for weight in unet.parameters() for t in (weight, weight.grad)]
    counter = _Counter(known)
    asked = _question(unet.config, latents, num_tokens=num_tokens, dtype=unet.dtype)
    with _AsOnGpu(precision), counter:
        predicted = unet(**asked, return_dict=False)[0].float()
        functional.mse_loss(predicted, torch.empty_like(predicted)).backward()
    unet.zero_grad(set_to_none=True)
    return Pass(counter.flop, counter.peak)


def _question(
    config: Mapping[str, Any],
    latents: tuple[int, int, int, int],
    *,
    num_tokens: int,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """What a U-Net is asked, as its families ask it."""
    batch = latents[0]

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    asked: dict[str, Any] = {
        "sample": empty(*latents),
        "timestep": empty(batch, dtype=torch.int64),
        "encoder_hidden_states": empty(batch, num_tokens, config["cross_attention_dim"]),
    }
    if config.get("addition_embed_type") == "text_time":
        told = _SIZES * config["addition_time_embed_dim"]
        pooled = config["projection_class_embeddings_input_dim"] - told
        sizes = empty(batch, _SIZES, dtype=torch.float32)
        asked["added_cond_kwargs"] = {"text_embeds": empty(batch, pooled), "time_ids": sizes}
    return asked


class _Counter(TorchDispatchMode):
    """Sums up operations, and the memory of all tensors that are alive.

    Not by `FlopCounterMode` itself: it keeps what checkpointing frees, twelve times as much memory
    for SDXL. Its formulas are the same.
    """

    def __init__(self, known: list[Any]) -> None:
        super().__init__()
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}
        self._now = self.peak = self.flop = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.flop += formula(*args, **(kwargs or {}), out_val=found)
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return found

    def _note(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._now += self._sizes[key]
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._sizes.pop(key, 0)


class _AsOnGpu(TorchFunctionMode):
    """Casts what autocast casts, and attends by a fused kernel."""

    def __init__(self, precision: torch.dtype) -> None:
        super().__init__()
        self._precision = precision

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        dtype = self._precision if func in _NARROW else torch.float32
        if func in _NARROW or func in _WIDE:
            args, kwargs = tree_map(lambda one: _cast(one, dtype), (args, kwargs))
        if func is functional.scaled_dot_product_attention and kwargs.get("attn_mask") is None:
            query, key, value = args[:3]
            return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        return func(*args, **kwargs)


def _cast(one: Any, dtype: torch.dtype) -> Any:
    floating = isinstance(one, Tensor) and one.is_floating_point()
    return one.to(dtype) if floating else one
