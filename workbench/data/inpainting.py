"""The masks that an inpainting base learns to fill, drawn at random ahead of time.

Another thing than `data.masks`, which say how much each place of a picture counts in the loss.
"""

import torch
from torch import Tensor

from workbench.seeds import derive
from workbench.settings import Settings, setting

__all__ = ["InpaintingSettings"]

_MOST_SHAPES = 4
_SIDES = (0.2, 0.7)  # of a shape, as a share of the picture's


class InpaintingSettings(Settings):
    """Random masks: rectangles and ellipses, or the whole picture."""

    masks: int = setting(
        4, ge=1, le=1000, help="masks drawn for each picture, which its showings take in turn"
    )
    full: float = setting(
        0.25, ge=0, le=1, help="share of masks that cover the whole picture, as plain prompts do"
    )

    def draw(self, size: tuple[int, int], *, seed: int, place: tuple[int, int]) -> Tensor:
        """Draw one mask; the same one whenever it is asked for.

        Args:
            size: height and width in px.
            seed: the run's.
            place: record, and which of its masks, in [0, masks).
        Returns:
            (1, height, width): 1 where the picture is to be made anew, 0 elsewhere.
        Source: the proportions of diffusers' `random_mask` (research_projects/dreambooth_inpaint);
            here several shapes, so that masks are not always one block.
        """
        generator = torch.Generator().manual_seed(derive(seed, "inpainting", *place))
        height, width = size
        if float(torch.rand((), generator=generator)) < self.full:
            return torch.ones(1, height, width)
        rows = torch.arange(height)[:, None] / height
        columns = torch.arange(width)[None, :] / width
        mask = torch.zeros(height, width, dtype=torch.bool)
        count = int(torch.randint(1, _MOST_SHAPES + 1, (), generator=generator))
        for _ in range(count):
            numbers = torch.rand(5, generator=generator).tolist()
            high, wide = (_SIDES[0] + (_SIDES[1] - _SIDES[0]) * n for n in numbers[:2])
            down, across = (rows - numbers[2]) / (high / 2), (columns - numbers[3]) / (wide / 2)
            if numbers[4] < 0.5:
                mask |= (down.abs() < 1) & (across.abs() < 1)
            else:
                mask |= down.square() + across.square() < 1
        return mask[None].float()
