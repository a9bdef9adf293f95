"""The mask that goes with a picture: a file, or its transparency.

It says which part is to be learnt: white is, black is not, grey in part. Beside `data.inpainting`
the same files say which part a base for inpainting fills in: white.

Masks are decoded when pictures are indexed, so that one of the wrong shape, all black or all white
is said before anything is trained; they are kept as the shares of 8 x 8 px that latents are made
of, some kilobytes each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import store
from workbench.data.buckets import Placement
from workbench.data.inpainting import InpaintingSettings
from workbench.data.mask_names import find_masks
from workbench.data.sources import Files, shown
from workbench.data.subsets import SetAside
from workbench.settings import Settings, setting
from workbench.store import FileRefused

__all__ = ["Mask", "MaskReader", "MaskSettings", "cells"]

CELL_PX = 8
HALF = 128  # of 255: from here up a pixel is filled in
GREY_MODES = ("1", "L", "LA", "I", "I;16", "F")
COLOURED = 0.1  # spread of the shares of red, green and blue: 0 in greys and in one colour
MOST_STRETCHED = 1.05  # ratio of the aspect ratios of a mask and its picture
NUM_NAMED = 5


class MaskSettings(Settings):
    """Which part of each picture counts in the loss."""

    source: Literal["files", "alpha", "none"] = setting(
        "files",
        basic=True,
        help="files: NAME-mask, NAME_mask or NAME.mask beside the picture, or masks/NAME, white is "
        "learnt; alpha: what is not transparent; none: whole pictures, mask files are left alone",
    )
    unmasked_weight: float = setting(
        0.1, ge=0, le=1, help="how much the rest counts; at 0 it may become anything"
    )
    normalise: bool = setting(
        True, help="divide by the mask's mean, so that a small mask makes no small loss"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The mask of one picture."""

    name: str  # of its file, relative to the subset; the picture's own where it is transparency
    open: Callable[[], Image.Image]  # upright, grey
    placement: Placement  # the picture's
    cells: Tensor  # share of each 8 x 8 px of the bucket that is white, uint8, (h, w)

    @property
    def coverage(self) -> float:
        """Share of the cut picture that is white, 0 to 1."""
        return float(self.cells.float().mean()) / 255

    def shares(self, placement: Placement) -> Tensor:
        """How much of each place is to be learnt where the picture is cut in some way.

        Args:
            placement: of a showing; its file is read again where that is not the picture's own.
        Returns:
            Shares in [0, 1], (height / 8, width / 8) of the bucket.
        Raises:
            FileRefused: the file is gone or damaged since it was indexed.
        """
        own = placement == self.placement
        return (self.cells if own else cells(self.open(), placement)).float() / 255

    def pixels(self, placement: Placement) -> Tensor:
        """Which pixels are to be filled in where the picture is cut in some way.

        Args:
            placement: of a showing.
        Returns:
            (1, height, width) of the bucket: 1 where the mask is at least half white, else 0.
        Raises:
            FileRefused: the file is gone or damaged since it was indexed.
        """
        mask = self.open()
        box = placement.source_box(mask.size)
        cut = mask.resize(placement.bucket, Image.Resampling.BILINEAR, box=box)
        return torch.from_numpy(np.array(cut) >= HALF)[None].float()


def _opened(files: Files, name: str, *, alpha: bool) -> tuple[Image.Image | None, bool]:
    """Decode a mask upright and grey; None for a picture without transparency.

    Returns:
        The mask, and whether its file is in colour, as a picture would be.
    """
    called = shown(name)
    try:
        with files.open(name) as file, store.open_image(file, name=called) as image:
            if alpha:
                return store.to_alpha(image, name=called), False
            grey = store.to_grey(image, name=called)
            return grey, image.mode not in GREY_MODES and _has_colour(image)
    except OSError as error:
        raise FileRefused(f"{called}: cannot be read ({error.strerror})") from None


def _has_colour(image: Image.Image) -> bool:
    """Whether its channels differ in many hues; paint of one colour on black is a mask too."""
    small = np.asarray(image.convert("RGB").resize((32, 32)), dtype=float)
    brightest = small.max(-1, keepdims=True)
    hues = (small / np.maximum(brightest, 1))[(brightest[..., 0] > 32)]
    return len(hues) > 0 and float(hues.std(0).max()) > COLOURED


def _again(files: Files, name: str, *, alpha: bool) -> Image.Image:
    """Decode a mask that was there when its picture was indexed."""
    mask, _ = _opened(files, name, alpha=alpha)
    if mask is None:
        raise FileRefused(f"{shown(name)}: had transparency when it was indexed; start again")
    return mask


def cells(mask: Image.Image, placement: Placement) -> Tensor:
    """Cut a mask as its picture is cut, and average it over the places of a latent.

    Args:
        mask: upright, grey, of its picture's shape; its size may be another.
        placement: the picture's.
    Returns:
        uint8, (height / 8, width / 8) of the bucket.
    """
    width, height = placement.bucket
    size = max(1, width // CELL_PX), max(1, height // CELL_PX)
    box = placement.source_box(mask.size)
    return torch.from_numpy(np.array(mask.resize(size, Image.Resampling.BOX, box=box)))


@dataclass(frozen=True, slots=True)
class _Words:
    """How a use of masks is told."""

    white: str  # what becomes of it
    black: str  # why a mask must not be all black
    others: str  # what becomes of pictures without a mask
    all_white: str


_LOSS = _Words(
    "learnt",
    "nothing of the picture would be learnt; paint white what is to be learnt",
    "are learnt whole",
    "masks that are all white leave nothing out",
)
_FILL = _Words(
    "to be filled in",
    "there would be nothing to fill in; paint white what is to be filled in",
    "get random masks",
    "masks that are all white keep nothing of their pictures",
)


class MaskReader:
    """Finds and checks the masks of one subset.

    Args:
        settings: where masks come from.
        files: of the subset.
        filling: masks say what a base for inpainting fills in, in place of what is learnt.
    """

    def __init__(
        self, settings: MaskSettings, files: Files, *, filling: InpaintingSettings | None = None
    ) -> None:
        self.files, self.filling = files, filling
        self.source: str = settings.source
        self.set_by = f"data.masks.source is {settings.source}"
        self.words = _LOSS
        if filling is not None:
            self.source = "none" if filling.source == "random" else "files"
            self.set_by, self.words = f"data.inpainting.source is {filling.source}", _FILL
        self.found, self.lonely = find_masks(files.names)
        self._mask_files = {*self.found.values(), *self.lonely}
        self._coverages: list[float] = []
        self._white: list[str] = []
        self._num_whole = 0
        self.doubts: list[str] = []

    def is_mask(self, name: str) -> bool:
        """Whether a file is a mask and so no picture to train on.

        Args:
            name: relative to the subset.
        Returns:
            Also true where masks are not used: nobody means to train on them.
        """
        return name in self._mask_files

    def has_mask(self, name: str) -> bool:
        """Whether a picture has a mask file.

        Args:
            name: of the picture.
        Returns:
            Also true where masks are not used.
        """
        return name in self.found

    def read(self, name: str, size: tuple[int, int], placement: Placement) -> Mask | None:
        """Read a picture's mask.

        Args:
            name: of the picture.
            size: of the picture, upright, px.
            placement: how it is cut.
        Returns:
            The mask; None where the whole picture is learnt, or a random mask is drawn for it.
        Raises:
            FileRefused: damaged, of another shape than the picture, or black where it is cut; or
                there is none, and each picture must have one.
        """
        alpha = self.source == "alpha"
        source = {"alpha": name, "files": self.found.get(name), "none": None}[self.source]
        image, coloured = None, False
        if source is not None:
            image, coloured = _opened(self.files, source, alpha=alpha)
        if source is None or image is None:
            if self.filling is not None and self.filling.source == "files":
                raise FileRefused(
                    "it has no mask, and data.inpainting.source is files; save one as "
                    "NAME-mask.png, or set data.inpainting.source=both"
                )
            self._num_whole += 1
            return None
        if coloured:
            self.doubts.append(
                f"{shown(source)} is in colour, as pictures are, and by its name the mask of "
                f"{shown(name)}; rename it if it is a picture"
            )
        called = "its transparency" if alpha else f"its mask {shown(source)}"
        stretched = math.log(image.width * size[1] / (image.height * size[0]))
        if abs(stretched) > math.log(MOST_STRETCHED):
            raise FileRefused(
                f"{called} is {image.width} x {image.height} px, another shape than the "
                f"{size[0]} x {size[1]} px of the picture; save it in the picture's size"
            )
        opened = partial(_again, self.files, source, alpha=alpha)
        mask = Mask(source, opened, placement, cells(image, placement))
        if not mask.cells.any():
            raise FileRefused(
                f"{called} is black all over the part that is shown, so {self.words.black}"
            )
        self._coverages.append(mask.coverage)
        if bool((mask.cells == 255).all()):
            self._white.append(name)
        return mask

    def set_aside(self) -> list[SetAside]:
        """Masks that belong to no picture."""
        reason = "a mask, and there is no picture of its name"
        return [SetAside(name, reason) for name in self.lonely]

    def notes(self) -> list[str]:
        """What the user should know about the masks, the coverage above all."""
        left = []
        if self._mask_files and self.source != "files":
            left = [f"mask files ({len(self._mask_files)}) were left alone, since {self.set_by}"]
        if not self._coverages:
            return left
        some, whole = self._coverages, self._num_whole
        rest = f"; those without one ({whole}) {self.words.others}" if whole else ""
        notes = [
            f"masks: {len(some)} of {len(some) + whole} pictures have one, and "
            f"{sum(some) / len(some):.0%} of their area is {self.words.white} "
            f"({min(some):.0%} to {max(some):.0%}){rest}"
        ]
        if self._white:
            named = ", ".join(map(shown, self._white[:NUM_NAMED]))
            more = ", ..." if len(self._white) > NUM_NAMED else ""
            notes.append(f"{self.words.all_white} ({len(self._white)}): {named}{more}")
        return [*left, *notes]
