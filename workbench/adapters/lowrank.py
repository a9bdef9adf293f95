"""LoRA, LoCon and DoRA: one layer as plain tensors."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.adapters.decompose import change, fitted_magnitude


@dataclass(frozen=True, slots=True)
class LowRank:
    """A low-rank change of one weight: dW = alpha / rank * up @ down.

    Attributes:
        down: (rank, in) for a linear layer, (rank, in, height, width) for a convolution.
        up: (out, rank), or (out, rank, 1, 1).
        alpha: scale times rank.
        magnitude: DoRA's lengths, (out, 1[, 1, 1]); None for a LoRA.
    """

    kind: ClassVar[str] = "lora"
    file_names: ClassVar = {"down": "lora_down.weight", "up": "lora_up.weight"}
    peft_names: ClassVar = {"down": "lora_A", "up": "lora_B"}

    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        """Width of the bottleneck."""
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        """Factor on the product of the two matrices."""
        return self.alpha / self.rank

    def product(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The low-rank change, without DoRA's lengths.

        Args:
            dtype: type to compute in.
        Returns:
            (out, in) or (out, in, height, width).
        """
        down, up = self.down.to(dtype), self.up.to(dtype)
        return self.scale * (up.flatten(1) @ down.flatten(1)).unflatten(1, down.shape[1:])

    def delta(self, weight: Tensor | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The change of the weight; see `decompose.change`."""
        return change(self.product(dtype), self.magnitude, weight)

    def fitted(self, module: nn.Module) -> "LowRank":
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
        return LowRank(
            self.down.reshape(down_shape),
            self.up.reshape(up_shape),
            self.alpha,
            fitted_magnitude(self.magnitude, weight),
        )


def _same(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Equal but for trailing 1s."""
    length = max(len(shape), len(wanted))
    return (*shape, *(1,) * (length - len(shape))) == (*wanted, *(1,) * (length - len(wanted)))
