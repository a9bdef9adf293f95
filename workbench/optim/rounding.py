"""Stochastic rounding: bf16 weights take updates that are smaller than their own precision.

A bf16 weight holds 8 bits: rounding to the nearest drops any update below 1/512 of the weight, so
small rates train nothing. Rounded up or down at random, in proportion, such updates arrive on
average. The step itself is taken in fp32, and so are the optimizer's averages.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from workbench import seeds

PIECE = 2**26  # weights widened at a time: 256 MiB of them, and as much of gradients


def stochastic_round(values: Tensor, *, generator: torch.Generator) -> Tensor:
    """Round to bf16, up or down with the probabilities that leave the mean as it is.

    bf16 is the upper half of fp32: adding 16 random bits to the lower half carries over with just
    the probability wanted.

    Args:
        values: fp32, any shape, finite.
        generator: of the device of the values.
    Returns:
        bf16, the same shape.
    Source: Zamirai et al. 2020, arXiv 2010.06192, section 4; the bits: pytorch/pytorch #120376.
    """
    assert values.dtype == torch.float32, values.dtype
    bits = torch.randint(
        0, 1 << 16, values.shape, dtype=torch.int32, device=values.device, generator=generator
    )
    bits += values.contiguous().view(torch.int32)
    bits &= -(1 << 16)
    return bits.view(torch.float32).to(torch.bfloat16)


def is_stand_in(p: Tensor) -> bool:
    """Whether a weight of an optimizer only stands in for a bf16 one, and holds nothing now.

    Args:
        p: key of an optimizer's state.
    Returns:
        True between two steps for what `StandIns` made.
    """
    return p.numel() > 1 and not any(p.stride())


class StandIns:
    """fp32 weights that an optimizer moves in place of bf16 ones, empty while it does not.

    Casting a weight itself back and forth would make torch forget what hangs on its gradient:
    many processes would train apart without a word.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        """Make a stand-in for every bf16 weight.

        Args:
            groups: what `OptimizerSettings.groups` returned.
        """
        self._of: dict[Tensor, Tensor] = {}  # stand-in to bf16 weight
        self.groups = [
            group | {"params": [self._stand_in(p) for p in group["params"]]} for group in groups
        ]

    def _stand_in(self, p: Tensor) -> Tensor:
        if p.dtype != torch.bfloat16:
            return p
        stand_in = torch.nn.Parameter(_nothing(p))
        self._of[stand_in] = p
        return stand_in

    def weights(self) -> list[Tensor]:
        """The weights of the model that the optimizer moves."""
        return [self._of.get(p, p) for group in self.groups for p in group["params"]]

    @contextmanager
    def held(self, stand_ins: Iterable[Tensor] | None = None) -> Iterator[None]:
        """Let stand-ins hold the weights' values and gradients.

        Args:
            stand_ins: which; all by default.
        """
        chosen = [p for p in (self._of if stand_ins is None else stand_ins) if p in self._of]
        for p in chosen:
            weight = self._of[p]
            p.data = weight.detach().float()
            if weight.grad is not None:
                p.grad, weight.grad = weight.grad.float(), None
        try:
            yield
        finally:
            for p in chosen:
                p.grad, p.data = None, _nothing(p)

    @torch.no_grad()
    def write(self) -> None:
        """Put what the stand-ins hold into the weights, rounded to the nearest."""
        for p, weight in self._of.items():
            weight.copy_(p)

    def step(self, optimizer: Any, *, seed: int, step: int, apart: bool) -> None:
        """Let the optimizer take a step in fp32, and round what its weights become.

        Args:
            optimizer: made of `groups`; the gradients are used up.
            seed: the run's seed.
            step: optimizer steps done before; the same step of the same run rounds alike on one
                kind of device.
            apart: weights are independent of each other, so that a few are widened at a time;
                otherwise all of them are at once.
        """
        groups = optimizer.param_groups
        whole = [list(group["params"]) for group in groups]
        device = next(p.device for params in whole for p in params)
        # On the device itself: 2.6 billion draws on the CPU would take longer than the step.
        generator = torch.Generator(device).manual_seed(seeds.derive(seed, "rounding", step))
        try:
            for piece in _pieces(whole) if apart else [whole]:
                for group, params in zip(groups, piece, strict=True):
                    group["params"] = params
                stand_ins = [p for params in piece for p in params if p in self._of]
                with self.held(stand_ins), torch.no_grad():
                    optimizer.step()
                    for p in stand_ins:
                        self._of[p].copy_(stochastic_round(p.data, generator=generator))
        finally:
            for group, params in zip(groups, whole, strict=True):
                group["params"] = params


def _nothing(p: Tensor) -> Tensor:
    """A tensor of the same shape that takes four bytes."""
    return torch.zeros((), dtype=torch.float32, device=p.device).expand(p.shape)


def _pieces(whole: Sequence[Sequence[Tensor]]) -> Iterator[list[list[Tensor]]]:
    """Split groups of weights into pieces of about `PIECE` weights, each with every group."""
    piece: list[list[Tensor]] = [[] for _ in whole]
    size = 0
    for index, params in enumerate(whole):
        for p in params:
            piece[index].append(p)
            size += p.numel()
            if size >= PIECE:
                yield piece
                piece, size = [[] for _ in whole], 0
    if size:
        yield piece
