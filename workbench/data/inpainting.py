"""The masks that an inpainting base learns to fill: files beside the pictures, or drawn at random.

Another thing than `data.masks`, which say how much each place of a picture counts in the loss.
White is made anew, black is kept.
"""

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from workbench.seeds import derive
from workbench.settings import Settings, setting

__all__ = ["InpaintingSettings"]

VERSION = "1"  # of the shapes, part of the key of cached masks
_MOST_SHAPES = 4
_SIDES = (0.2, 0.7)  # of a rectangle or an ellipse, as a share of the picture's
_JOINTS = 4  # of a stroke
_THICKNESS = (0.05, 0.15)  # of a stroke, as a share of the picture's longer side

Across = tuple[Tensor, Tensor]  # how far down (H, 1) and across (1, W) each place lies, in [0, 1]


class InpaintingSettings(Settings):
    """What an inpainting base fills in: a mask file's white, or shapes drawn at random."""

    source: Literal["both", "files", "random"] = setting(
        "both",
        help="files: NAME-mask beside the picture, white is filled in, and every picture needs "
        "one; random: rectangles, ellipses and strokes, mask files are left alone; both: the file "
        "where there is one, otherwise random",
    )
    masks: int = setting(
        4, ge=1, le=1000, help="random masks for each picture, which its showings take in turn"
    )
    full: float = setting(
        0.25,
        ge=0,
        le=1,
        help="share of random masks that cover the whole picture, so that plain prompts work too",
    )

    def draw(self, size: tuple[int, int], *, seed: int, place: tuple[int, int]) -> Tensor:
        """Draw one mask; the same one whenever it is asked for.

        Args:
            size: height and width in px.
            seed: the run's.
            place: record, and which of its masks, in [0, masks).
        Returns:
            (1, height, width): 1 where the picture is to be made anew, 0 elsewhere.
        Source: the share of whole masks and the sides are those of diffusers' `random_mask`
            (research_projects/dreambooth_inpaint); here several shapes, so that masks are not
            always one block, and strokes, as people paint them.
        """
        generator = torch.Generator().manual_seed(derive(seed, "inpainting", *place))
        height, width = size
        if float(torch.rand((), generator=generator)) < self.full:
            return torch.ones(1, height, width)
        across = torch.arange(height)[:, None] / height, torch.arange(width)[None, :] / width
        mask = torch.zeros(height, width, dtype=torch.bool)
        count = int(torch.randint(1, _MOST_SHAPES + 1, (), generator=generator))
        for _ in range(count):
            shape = _SHAPES[int(torch.randint(len(_SHAPES), (), generator=generator))]
            mask |= shape(across, width / height, generator)
        return mask[None].float()

    def name(self, size: tuple[int, int], *, seed: int, place: tuple[int, int]) -> str:
        """What a drawn mask is known by in a cache, without drawing it.

        Args:
            size: see `draw`.
            seed: see `draw`.
            place: see `draw`.
        Returns:
            Equal for equal masks.
        """
        return repr((VERSION, self.full, size, derive(seed, "inpainting", *place)))


def _box(across: Across, generator: torch.Generator) -> Across:
    """How far each place lies from a random middle, in halves of random sides."""
    high, wide, *middle = torch.rand(4, generator=generator).tolist()
    sides = (_SIDES[0] + (_SIDES[1] - _SIDES[0]) * number for number in (high, wide))
    down, right = (
        (axis - centre) / (side / 2)
        for axis, centre, side in zip(across, middle, sides, strict=True)
    )
    return down, right


def _rectangle(across: Across, aspect: float, generator: torch.Generator) -> Tensor:
    down, right = _box(across, generator)
    return (down.abs() < 1) & (right.abs() < 1)


def _ellipse(across: Across, aspect: float, generator: torch.Generator) -> Tensor:
    down, right = _box(across, generator)
    return down.square() + right.square() < 1


def _stroke(across: Across, aspect: float, generator: torch.Generator) -> Tensor:
    """A line through random joints, as thick as a brush; round at its ends."""
    down, right = across[0] / max(1.0, aspect), across[1] * min(1.0, aspect)  # longer side is 1
    share = float(torch.rand((), generator=generator))
    radius = (_THICKNESS[0] + (_THICKNESS[1] - _THICKNESS[0]) * share) / 2
    joints = torch.rand(_JOINTS, 2, generator=generator)
    joints = joints * torch.tensor([1 / max(1.0, aspect), min(1.0, aspect)])
    covered = torch.zeros(down.numel(), right.numel(), dtype=torch.bool)
    for start, end in itertools.pairwise(joints):
        way = end - start
        along = ((down - start[0]) * way[0] + (right - start[1]) * way[1]) / way.square().sum()
        along = along.clamp(0, 1)
        off = (down - start[0] - along * way[0]).square()
        covered |= off + (right - start[1] - along * way[1]).square() < radius**2
    return covered


_SHAPES: tuple[Callable[[Across, float, torch.Generator], Tensor], ...] = (
    _rectangle,
    _ellipse,
    _stroke,
)
