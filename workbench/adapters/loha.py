"""LoHa: the product, entry by entry, of two low-rank changes."""

from typing import Literal

import torch
from torch import Tensor

from workbench.adapters.layers import Hadamard
from workbench.adapters.networks import NetworkSettings, uniform
from workbench.settings import setting


class LoHa(NetworkSettings):
    """W + alpha / rank * (A1 B1) o (A2 B2): a change of rank up to rank^2, with B2 zero at first.

    Differs from LyCORIS in its first values, which are peft's (uniform within 1 / sqrt(fan in), as
    a LoRA's). No Tucker cores for convolutions: peft 0.21 computes wrong gradients for them.

    Source: Hyeon-Woo et al. 2021, arXiv 2108.06098 (FedPara).
    """

    kind: Literal["loha"] = "loha"
    rank: int = setting(
        8, ge=1, le=1024, basic=True, help="width of both bottlenecks; the change has its square"
    )

    def start(self, name: str, weight: Tensor, generator: torch.Generator) -> Hadamard:
        """As peft draws it; see `NetworkSettings`."""
        rank = self.rank_of(name, weight)
        rows, columns = weight.shape[0], weight[0].numel()
        return Hadamard(
            w1_a=uniform((rows, rank), generator),
            w1_b=uniform((rank, columns), generator),
            w2_a=uniform((rows, rank), generator),
            w2_b=torch.zeros(rank, columns),
            alpha=self.alpha_of(name, rank),
        )
