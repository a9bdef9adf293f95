"""LoKr: a small matrix times, in the sense of Kronecker, a larger one."""

from typing import Any, Literal

import torch
from pydantic import model_validator
from torch import Tensor

from workbench.adapters.layers import Kronecker
from workbench.adapters.networks import NetworkSettings, uniform
from workbench.settings import setting


class LoKr(NetworkSettings):
    """W + alpha / rank * w1 (x) w2: few weights, and a change of full rank, with w2 zero at first.

    w2 is the product of two matrices of width `rank`, or full where that would save nothing.
    Where both factors are full, files have no scale: it is multiplied into w1 when one is written.

    Source: Edalati et al. 2022, arXiv 2212.10650; first values and shapes as LyCORIS.
    """

    kind: Literal["lokr"] = "lokr"
    factor: int = setting(
        8, ge=-1, le=1024, help="size of w1 where it divides the layer's; -1: near its square root"
    )
    decompose_both: bool = setting(False, help="w1 too is a product of thin matrices")

    @model_validator(mode="after")
    def _some_factor(self) -> "LoKr":
        if self.factor == 0:
            raise ValueError("factor must be -1 or >= 1, got 0; -1 splits near the square root")
        return self

    def start(self, name: str, weight: Tensor, generator: torch.Generator) -> Kronecker:
        """As LyCORIS draws it (peft: init_weights="lycoris"); see `NetworkSettings`."""
        from peft.tuners.lokr.layer import factorization

        rank = self.rank_of(name, weight)
        alpha, kernel = self.alpha_of(name, rank), weight.shape[2:]
        rows, columns = (sorted(factorization(n, self.factor)) for n in weight.shape[:2])
        found: dict[str, Any] = {}
        if self.decompose_both and rank < max(rows[0], columns[0]) / 2:
            found["w1_a"] = uniform((rows[0], rank), generator)
            found["w1_b"] = uniform((rank, columns[0]), generator)
        else:
            found["w1"] = uniform((rows[0], columns[0]), generator)
        if rank < max(rows[1], columns[1]) / 2:
            found["w2_a"] = uniform((rows[1], rank), generator)
            found["w2_b"] = torch.zeros(rank, columns[1] * kernel.numel())
        else:
            found["w2"] = torch.zeros(rows[1], columns[1], *kernel)
        layer = Kronecker(alpha=alpha, **found)
        if not layer.is_full:
            return layer
        return Kronecker(alpha=float(rank), factor=alpha / rank, **found)
