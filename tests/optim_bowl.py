"""A few weights that fall into a bowl, for every optimizer of the union."""

from typing import get_args

import torch

from workbench.optim.optimizers import (
    DAdaptation,
    Optimizer,
    OptimizerSettings,
    Prodigy,
)

MEMBERS = get_args(get_args(Optimizer)[0])
FINDING = (Prodigy, DAdaptation)


def tiny(member: type[OptimizerSettings], **options: object) -> OptimizerSettings:
    """Settings under which 300 weights use the method proper (8-bit needs a low threshold)."""
    small = {"min_8bit_size": 256} if "min_8bit_size" in member.model_fields else {}
    return member(**small, **options)


def weights() -> dict[str, list[torch.nn.Parameter]]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"unet": [(8, 40), (40, 8), (8,)], "text_encoder": [(4, 8, 3, 3)]}
    return {
        part: [torch.nn.Parameter(torch.randn(s, generator=draw)) for s in part_shapes]
        for part, part_shapes in shapes.items()
    }


def run(
    params: dict[str, list[torch.nn.Parameter]], optimizer: torch.optim.Optimizer, steps: range
) -> None:
    for step in steps:
        gradients(params, step)
        optimizer.step()


def gradients(params: dict[str, list[torch.nn.Parameter]], step: int) -> None:
    """A bowl around zero, with noise."""
    draw = torch.Generator().manual_seed(step)
    for group in params.values():
        for p in group:
            p.grad = p.detach() + 0.1 * torch.randn(p.shape, generator=draw)
