"""Masks that are painted: written beside their picture, where mask files are looked for."""

import io
import time
from pathlib import Path

from PIL import Image

from workbench import store
from workbench.data.dataset import Dataset
from workbench.data.mask_names import WRITTEN
from workbench.store import FileRefused

__all__ = ["read_mask", "remove_mask", "write_mask"]

KEPT = ".masks"  # hidden, so that no dataset takes it for pictures


def read_mask(dataset: Dataset, index: int) -> Image.Image | None:
    """Decode the mask that a picture has.

    Args:
        dataset: that holds the picture.
        index: of its record.
    Returns:
        Upright and grey, white is learnt; None where the whole picture is.
    Raises:
        FileRefused: it is gone or damaged since it was indexed.
    """
    mask = dataset.masks[index]
    return None if mask is None else mask.open()


def write_mask(dataset: Dataset, index: int, mask: Image.Image) -> Path:
    """Write a painted mask in its picture's size; one that was there is kept in `.masks`.

    Args:
        dataset: that holds the picture.
        index: of its record.
        mask: grey, of the picture's shape, white is learnt; its size may be another.
    Returns:
        The file.
    Raises:
        FileRefused: the mask is black, or there is no place beside the picture.
    """
    before, record = _existing(dataset, index), dataset.records[index]
    if mask.convert("L").getbbox() is None:
        raise FileRefused(
            f"{dataset.label(record)}: nothing is painted, so the mask would be black all over; "
            "paint what is meant, or remove the mask"
        )
    assert record.path is not None
    # PNG always: lossy formats would leave grey at the edges.
    beside = record.path.with_name(f"{record.path.stem}{WRITTEN}.png")
    path = before.with_suffix(".png") if before else beside
    encoded = io.BytesIO()
    size = (record.width, record.height)
    mask.convert("L").resize(size, Image.Resampling.BILINEAR).save(encoded, "PNG")
    if before:
        _keep(before)
    store.write_bytes(path, encoded.getvalue())
    if before and before != path:
        before.unlink()
    return path


def remove_mask(dataset: Dataset, index: int) -> bool:
    """Take a picture's mask away, so that all of it is learnt; the mask is kept in `.masks`.

    Args:
        dataset: that holds the picture.
        index: of its record.
    Returns:
        Whether there was one.
    Raises:
        FileRefused: there is no place beside the picture.
    """
    before = _existing(dataset, index)
    if before:
        _keep(before)
        before.unlink()
    return before is not None


def _existing(dataset: Dataset, index: int) -> Path | None:
    """The file of the mask that a picture has; refused where none could be written."""
    record = dataset.records[index]
    drawn = dataset.settings.subsets[record.subset].path.startswith("critters:")
    if record.path is None or drawn:
        raise FileRefused(
            f"{dataset.label(record)}: pictures in a zip or a drawn world have no place for a "
            "mask; unpack the zip, or copy the pictures, and name that folder"
        )
    filling, masks = dataset.settings.inpainting, dataset.settings.masks
    if filling is not None and filling.source == "random":
        raise FileRefused(
            "data.inpainting.source is random, so that a painted mask would not be read; set it to "
            '"both"'
        )
    if filling is None and masks.source != "files":
        raise FileRefused(
            f"data.masks.source is {masks.source}, so that a painted mask would not be read; set "
            'it to "files"'
        )
    mask = dataset.masks[index]
    if mask is None:
        return None
    return Path(str(record.path).removesuffix(record.name)) / mask.name


def _keep(path: Path) -> None:
    """Copy what is about to be written over, never over another copy."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = path.parent / KEPT
    names = (f"{stamp}-{path.name}", *(f"{stamp}-{n}-{path.name}" for n in range(2, 1000)))
    place = next(folder / name for name in names if not (folder / name).exists())
    store.write_bytes(place, path.read_bytes())
