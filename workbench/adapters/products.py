"""LoHa and LoKr: one layer as plain tensors, in the shapes that LyCORIS and peft share."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from workbench.adapters.decompose import change, fitted_magnitude


@dataclass(frozen=True, slots=True)
class Hadamard:
    """LoHa: dW = alpha / rank * (w1_a w1_b) o (w2_a w2_b), the product of each entry with its like.

    Attributes:
        w1_a: (out, rank); (rank, out) beside a Tucker core.
        w1_b: (rank, in), for a convolution (rank, in height width); (rank, in) beside a core.
        w2_a: like w1_a.
        w2_b: like w1_b.
        alpha: scale times rank.
        t1: Tucker core of a convolution, (rank, rank, height, width), in some files of others.
        t2: like t1.
        magnitude: DoRA's lengths, in some files of others.
    Source: Hyeon-Woo et al. 2021, arXiv 2108.06098 (FedPara); LyCORIS.
    """

    kind: ClassVar[str] = "loha"
    file_names: ClassVar = {
        field: f"hada_{field}" for field in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")
    }
    peft_names: ClassVar = file_names

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    alpha: float
    t1: Tensor | None = None
    t2: Tensor | None = None
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        """Width of each of the two bottlenecks; dW itself can have the square of it."""
        return self.w1_b.shape[0]

    @property
    def scale(self) -> float:
        """Factor on the product."""
        return self.alpha / self.rank

    def product(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The change, without DoRA's lengths.

        Args:
            dtype: type to compute in.
        Returns:
            (out, in) or (out, in height width), or (out, in, height, width) with a core.
        """
        first = _factor(self.w1_a, self.w1_b, self.t1, dtype)
        return self.scale * first * _factor(self.w2_a, self.w2_b, self.t2, dtype)

    def delta(self, weight: Tensor | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The change of the weight; see `decompose.change`."""
        return change(self.product(dtype), self.magnitude, weight)

    def fitted(self, module: nn.Module) -> "Hadamard":
        """See `LowRank.fitted`."""
        weight: Tensor = module.weight  # pyright: ignore[reportAssignmentType]
        pairs = ((self.w1_a, self.w1_b, self.t1), (self.w2_a, self.w2_b, self.t2))
        _check({_shape(*pair) for pair in pairs}, weight, "hada_w1 and hada_w2")
        return replace(self, magnitude=fitted_magnitude(self.magnitude, weight))


@dataclass(frozen=True, slots=True)
class Kronecker:
    """LoKr: dW = alpha / rank * w1 (x) w2, every entry of w1 times the whole of w2.

    Each factor is full, or the product of two thin ones. Where both are full, files have no scale:
    every reader takes 1, whatever alpha says.

    Attributes:
        alpha: scale times rank.
        w1: (a, b).
        w1_a: (a, rank).
        w1_b: (rank, b).
        w2: (c, d) with a c = out and b d = in, or (c, d, height, width).
        w2_a: (c, rank); (rank, c) beside a core.
        w2_b: (rank, d), or (rank, d height width); (rank, d) beside a core.
        t2: Tucker core (rank, rank, height, width), in some files of others.
        magnitude: DoRA's lengths, in some files of others.
        factor: what two full factors are multiplied by while they train; files have it in w1.
    Source: Edalati et al. 2022, arXiv 2212.10650; LyCORIS.
    """

    kind: ClassVar[str] = "lokr"
    file_names: ClassVar = {
        field: f"lokr_{field}" for field in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")
    }
    peft_names: ClassVar = file_names

    alpha: float
    w1: Tensor | None = None
    w1_a: Tensor | None = None
    w1_b: Tensor | None = None
    w2: Tensor | None = None
    w2_a: Tensor | None = None
    w2_b: Tensor | None = None
    t2: Tensor | None = None
    magnitude: Tensor | None = None
    factor: float = 1.0

    @property
    def is_full(self) -> bool:
        """Whether both factors are full matrices."""
        return self.w1 is not None and self.w2 is not None

    @property
    def rank(self) -> int:
        """Width of the thin factors; where there are none, what alpha says, 1 at least."""
        thin = self.w2_b if self.w2_b is not None else self.w1_b
        return max(1, round(self.alpha)) if thin is None else thin.shape[0]

    @property
    def scale(self) -> float:
        """Factor on the product."""
        return self.factor if self.is_full else self.alpha / self.rank

    def sides(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """How the sides of the weight are split.

        Returns:
            (a, c) for out, and (b, d) for in; d is d height width where w2_b holds a kernel too.
        """
        one = _shape(self.w1_a, self.w1_b, None) if self.w1 is None else self.w1.shape
        two = _shape(self.w2_a, self.w2_b, self.t2) if self.w2 is None else self.w2.shape
        return (one[0], two[0]), (one[1], two[1])

    def folded(self) -> "Kronecker":
        """The same change with `factor` multiplied into w1, as files have it."""
        if self.w1 is None or self.factor == 1:
            return self
        return replace(self, w1=self.w1 * self.factor, factor=1.0)

    def product(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The change, without DoRA's lengths.

        Args:
            dtype: type to compute in.
        Returns:
            (out, in) or (out, in height width), or (out, in, height, width) where w2 has 4 axes.
        """
        one = _factor(self.w1_a, self.w1_b, None, dtype) if self.w1 is None else self.w1
        two = _factor(self.w2_a, self.w2_b, self.t2, dtype) if self.w2 is None else self.w2
        one, two = one.to(dtype), two.to(dtype)
        return self.scale * torch.kron(one[(...,) + (None,) * (two.dim() - 2)], two.contiguous())

    def delta(self, weight: Tensor | None = None, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The change of the weight; see `decompose.change`."""
        return change(self.product(dtype), self.magnitude, weight)

    def fitted(self, module: nn.Module) -> "Kronecker":
        """See `LowRank.fitted`."""
        weight: Tensor = module.weight  # pyright: ignore[reportAssignmentType]
        one = _shape(self.w1_a, self.w1_b, None) if self.w1 is None else tuple(self.w1.shape)
        two = _shape(self.w2_a, self.w2_b, self.t2) if self.w2 is None else tuple(self.w2.shape)
        _check({(one[0] * two[0], one[1] * two[1], *two[2:])}, weight, "lokr_w1 and lokr_w2")
        return replace(self, magnitude=fitted_magnitude(self.magnitude, weight))


def _factor(a: Tensor | None, b: Tensor | None, core: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A @ b, or with a Tucker core the sum over both its ranks."""
    assert a is not None and b is not None
    if core is None:
        return a.to(dtype) @ b.to(dtype)
    return torch.einsum("ijhw,io,jn->onhw", core.to(dtype), a.to(dtype), b.to(dtype))


def _shape(a: Tensor | None, b: Tensor | None, core: Tensor | None) -> tuple[int, ...]:
    """The shape of `_factor`."""
    assert a is not None and b is not None
    if core is None:
        return (a.shape[0], b.shape[1])
    return (a.shape[1], b.shape[1], *core.shape[2:])


def _check(shapes: set[tuple[int, ...]], weight: Tensor, what: str) -> None:
    """A product may be flat behind its first axis: (out, in height width) for a convolution."""
    fitting = {tuple(weight.shape), (weight.shape[0], weight[0].numel())}
    if len(shapes) != 1 or not shapes <= fitting:
        shown = " and ".join(str(list(shape)) for shape in sorted(shapes))
        raise ValueError(f"{what} make {shown}, which fits no weight of {list(weight.shape)}")
