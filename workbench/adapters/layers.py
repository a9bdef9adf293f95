"""One adapted layer as plain tensors: what LoRA files hold and what merging adds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Layer:
    """A low-rank change of one weight: dW = alpha / rank * up @ down.

    Attributes:
        down: (rank, in) for a linear layer, (rank, in, height, width) for a convolution.
        up: (out, rank), or (out, rank, 1, 1).
        alpha: scale times rank.
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Width of the bottleneck."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """Factor on the product of the two matrices."""
        return self.alpha / self.rank

    def delta(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The change of the weight.

        Args:
            dtype: type to compute in.
        Returns:
            dW in the weight's shape: (out, in) or (out, in, height, width).
        """
        down, up = self.down.to(dtype), self.up.to(dtype)
        return self.scale * (up.flatten(1) @ down.flatten(1)).unflatten(1, down.shape[1:])

    def fitted(self, module: nn.Module) -> "Layer":
        """The layer in the shape that a module wants: 1x1 convolutions are stored either way.

        Args:
            module: `nn.Linear` or `nn.Conv2d`.
        Returns:
            The same change, 2-D for a linear layer and 4-D for a convolution.
        Raises:
            ValueError: the shapes do not fit the module or each other.
        """
        weight: Tensor = module.weight  # pyright: ignore[reportAssignmentType]
        down_shape = (self.rank, *weight.shape[1:])
        up_shape = (weight.shape[0], self.rank, *(1,) * (weight.dim() - 2))
        if not (_same(self.down.shape, down_shape) and _same(self.up.shape, up_shape)):
            raise ValueError(
                f"down {list(self.down.shape)} and up {list(self.up.shape)} do not fit a weight "
                f"of {list(weight.shape)}"
            )
        return Layer(self.down.reshape(down_shape), self.up.reshape(up_shape), self.alpha)


def adaptable(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a model that can carry an adapter, in the model's own order.

    Args:
        part: U-Net or text encoder, without an adapter.
    Yields:
        Path inside the part, and the linear layer or convolution.
    Raises:
        ValueError: an adapter is on the model, so its layers are hidden inside others.
    """
    for path, module in part.named_modules():
        if hasattr(module, "get_base_layer"):
            raise ValueError(f"{path} holds an adapter already; detach() that one first")
        if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
            yield path, module


def relative_error(stored: Mapping[str, Layer], exact: Mapping[str, Layer]) -> dict[str, float]:
    """How much rounding changed each layer's dW.

    Args:
        stored: name to layer after rounding.
        exact: the same names before.
    Returns:
        Name to |dW stored - dW| / |dW|; 0 where dW is zero.
    """
    errors = {}
    for name, layer in exact.items():
        delta = layer.delta()
        size = delta.norm()
        difference = (stored[name].delta() - delta).norm()
        errors[name] = float(difference / size) if size > 0 else float(difference)
    return errors


def _same(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Equal but for trailing 1s."""
    length = max(len(shape), len(wanted))
    return (*shape, *(1,) * (length - len(shape))) == (*wanted, *(1,) * (length - len(wanted)))
