"""LoRA and its options: convolutions (LoCon), rsLoRA, DoRA, LoRA+, PiSSA and OLoRA."""

import math
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from workbench.adapters.decompose import start_magnitude
from workbench.adapters.layers import LowRank
from workbench.adapters.networks import NetworkSettings, fp32, uniform
from workbench.adapters.starting import Init, from_base
from workbench.settings import SettingsError, setting


class LoRA(NetworkSettings):
    """Low-rank adapters: W + alpha / rank * B A, with B zero at the start.

    Source: Hu et al. 2021, arXiv 2106.09685; rank_scaled: Kalajdzievski 2023, arXiv 2312.03732;
    dora: Liu et al. 2024, arXiv 2402.09353; b_rate_factor: Hayou et al. 2024, arXiv 2402.12354.
    """

    kind: Literal["lora"] = "lora"
    dropout: float = setting(0.0, ge=0, lt=1, help="share of a layer's inputs the adapter misses")
    rank_scaled: bool = setting(
        False, help="scale alpha / sqrt(rank) in place of alpha / rank (rsLoRA), for large ranks"
    )
    dora: bool = setting(
        False, help="learn length and direction of each output's weights apart (DoRA); slower"
    )
    b_rate_factor: float = setting(
        1.0, ge=1, le=100, help="learning rate of B over that of A (LoRA+); its authors take 16"
    )
    init: Init = setting(
        "zero",
        help="start at nothing, or as the base's largest directions (pissa) or first columns "
        "(olora), taken off the base; the saved file has twice the rank and fits the whole base",
    )

    @model_validator(mode="after")
    def _what_does_not_go_together(self) -> "LoRA":
        for name, given in (
            ("dora", self.dora),
            ("start_from", self.start_from is not None),
            ("max_norm", self.max_norm is not None),
        ):
            if given and self.moves_base:
                raise ValueError(
                    f"{name} does not go with init={self.init!r}, which starts from a part of the "
                    "base; set init='zero'"
                )
        return self

    @property
    def moves_base(self) -> bool:
        """Whether the first values are a part of the base, which is then taken off it."""
        return self.init != "zero"

    def rate_factor(self, name: str) -> float:
        """See `NetworkSettings`; B has a factor of its own."""
        own = self.b_rate_factor if name.endswith(".lora_B") else 1.0
        return own * super().rate_factor(name)

    def start(self, name: str, weight: Tensor, generator: torch.Generator) -> LowRank:
        """A as torch and peft draw it (uniform within 1 / sqrt(fan in)), B zero; or of the base."""
        rank = self.rank_of(name, weight)
        alpha = self.alpha_of(name, rank)
        if self.rank_scaled:
            alpha = fp32(alpha * math.sqrt(rank))
        if self.init != "zero":
            return from_base(weight, rank=rank, alpha=alpha, init=self.init, name=name)
        down = uniform((rank, *weight.shape[1:]), generator)
        up = torch.zeros(weight.shape[0], rank, *(1,) * (weight.dim() - 2))
        return LowRank(down, up, alpha, _magnitude(name, weight) if self.dora else None)


def _magnitude(name: str, weight: Tensor) -> Tensor:
    found = start_magnitude(weight)
    if empty := int((found <= torch.finfo(found.dtype).tiny).sum()):
        raise SettingsError(
            f"adapter.dora divides by the length of each output's weights, and {empty} of {name} "
            "are all zero; leave the layer out (adapter.blocks with rank 0), or set dora=false"
        )
    return found
