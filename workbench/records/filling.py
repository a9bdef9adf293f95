"""Pictures with masks that samples of a base for inpainting fill in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from workbench import store
from workbench.data.augment import to_tensor
from workbench.data.buckets import BucketSettings
from workbench.data.dataset import Dataset, DataSettings, Subset, index
from workbench.data.fills import Fills
from workbench.data.inpainting import InpaintingSettings
from workbench.settings import SettingsError, replace
from workbench.store import FileRefused

__all__ = ["FOLDER", "Given", "fingerprint", "given", "keep", "pairs", "shows_training"]

FOLDER = "fill"  # in a run
MOST = 8  # pictures that a run keeps to fill in
_OWN = "trained-on"  # begins the names of those that it trains on

_TO_BLACK_OR_WHITE = [0] * 128 + [255] * 128

Pair = tuple[Image.Image, Image.Image]


@dataclass(frozen=True, slots=True)
class Given:
    """What some samples start from.

    Attributes:
        pictures: RGB, of the samples' size, (B,).
        covers: of the same size; white is filled in, (B,).
    """

    pictures: tuple[Image.Image, ...]
    covers: tuple[Image.Image, ...]

    @property
    def pixels(self) -> Tensor:
        """The pictures in [-1, 1], (B, 3, H, W)."""
        return torch.stack([to_tensor(one) for one in self.pictures])

    @property
    def masks(self) -> Tensor:
        """1 where something is filled in, (B, 1, H, W)."""
        return torch.stack(
            [torch.from_numpy(np.array(one) >= 128)[None].float() for one in self.covers]
        )

    @property
    def hatched(self) -> tuple[Image.Image, ...]:
        """The pictures with stripes over what is filled in, to be looked at, (B,)."""
        pairs = zip(self.pictures, self.covers, strict=True)
        return tuple(Image.composite(_stripes(one), one, cover) for one, cover in pairs)

    def pasted(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """Put what was filled in into the pictures; the rest is theirs to the last bit.

        Args:
            images: what the base drew, (B,).
        Returns:
            RGB pictures, (B,).
        """
        every = zip(images, self.pictures, self.covers, strict=True)
        return [Image.composite(drawn, picture, cover) for drawn, picture, cover in every]


def _stripes(picture: Image.Image) -> Image.Image:
    """Light and dark grey, slanted."""
    width, height = picture.size
    slanted = np.arange(height)[:, None] + np.arange(width)[None, :]
    dark = slanted // max(2, min(width, height) // 32) % 2 == 0
    return Image.fromarray(np.where(dark, 110, 160).astype(np.uint8)).convert("RGB")


def given(folder: str | None, seeds: Sequence[int], size: tuple[int, int]) -> Given:
    """Choose what some samples fill in: the picture whose number is the seed, round and round.

    Args:
        folder: holds pictures with masks; None makes whole pictures, from nothing.
        seeds: of the samples, (B,).
        size: width and height of the samples in px.
    Returns:
        Pictures and masks, cut to that size.
    Raises:
        SettingsError: no such folder, or no picture in it has a mask.
    """
    if folder is None:
        grey, whole = Image.new("RGB", size, (128, 128, 128)), Image.new("L", size, 255)
        return Given((grey,) * len(seeds), (whole,) * len(seeds))
    found = pairs(folder)
    chosen = [found[seed % len(found)] for seed in seeds]
    fitted = [
        (ImageOps.fit(picture, size, Image.Resampling.LANCZOS), ImageOps.fit(mask, size))
        for picture, mask in chosen
    ]
    covers = tuple(mask.point(_TO_BLACK_OR_WHITE) for _, mask in fitted)
    return Given(tuple(picture for picture, _ in fitted), covers)


def pairs(folder: str) -> tuple[Pair, ...]:
    """Read a folder of pictures with masks.

    Args:
        folder: with NAME.png and NAME-mask.png, or a source of the embedded world.
    Returns:
        Picture and mask of its first pictures by name, at most eight; never none.
    Raises:
        SettingsError: no such folder, or no picture in it has a mask.
    """
    return _pairs(folder, _stamp(folder))


def fingerprint(folder: str) -> str:
    """Name what a folder holds, wherever it lies.

    Args:
        folder: see `pairs`.
    Returns:
        Equal for equal pictures and masks.
    """
    digest = hashlib.sha256()
    for pair in pairs(folder):
        for part in pair:
            digest.update(repr(part.size).encode() + part.tobytes())
    return digest.hexdigest()


def _stamp(folder: str) -> tuple[tuple[str, int, int], ...]:
    place = Path(folder)
    files = sorted(place.rglob("*")) if place.is_dir() else []
    return tuple((one.name, one.stat().st_mtime_ns, one.stat().st_size) for one in files)


@lru_cache(maxsize=8)
def _pairs(folder: str, stamp: tuple[tuple[str, int, int], ...]) -> tuple[Pair, ...]:
    found = index(
        DataSettings(
            subsets=(Subset(path=folder),),
            buckets=BucketSettings(resolution=16, step=8),  # any size does
            inpainting=InpaintingSettings(source="both"),
        )
    )
    every = [
        (found.open(record), mask.open())
        for record, mask in zip(found.records, found.masks, strict=True)
        if mask is not None
    ]
    if not every:
        raise SettingsError(
            f"sampling.fill must be a folder of pictures with masks, and no picture of {folder!r} "
            "has one: save it as NAME-mask.png beside NAME.png, white where it is to be filled in"
        )
    return tuple(every[:MOST])


def keep(
    dataset: Dataset, records: Sequence[int], *, fill: str | None, seed: int, folder: Path
) -> None:
    """Put the pictures that a run's samples fill in into its folder.

    Args:
        dataset: of the run.
        records: of pictures to take where none are named; those with a mask of their own first.
        fill: `sampling.fill`.
        seed: the run's, for random masks.
        folder: `fill` of the run; left as it is where it holds pictures.
    Raises:
        SettingsError: `sampling.fill` cannot be used.
    """
    if folder.is_dir() and any(folder.iterdir()):
        return
    taken = pairs(fill) if fill is not None else _own(dataset, records, seed)
    kind = "named" if fill is not None else _OWN
    with store.whole_folder(folder) as staged:
        for number, (picture, mask) in enumerate(taken):
            store.write_bytes(staged / f"{kind}-{number:02d}.png", store.png(picture))
            store.write_bytes(staged / f"{kind}-{number:02d}-mask.png", store.png(mask))


def shows_training(folder: Path) -> bool:
    """Whether a run's samples fill in pictures that it trains on, and so show parts of them.

    Args:
        folder: the run folder.
    Returns:
        False too where nothing is filled in.
    """
    return any((folder / FOLDER).glob(f"{_OWN}-*"))


def _own(dataset: Dataset, records: Sequence[int], seed: int) -> list[Pair]:
    """Pictures that a run trains on, with masks that leave something of each."""
    fills = Fills(dataset, seed=seed)
    fills.settings = replace(fills.settings, full=0.0)
    taken = []
    for record in records[:MOST]:
        try:
            pixels, mask = dataset.pixels(record), fills.mask(record, 0)
        except FileRefused:  # training will name it
            continue
        levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        picture = Image.fromarray(levels.permute(1, 2, 0).numpy())
        taken.append((picture, Image.fromarray((mask[0] * 255).to(torch.uint8).numpy())))
    return taken
