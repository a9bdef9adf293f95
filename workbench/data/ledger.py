"""The account of what happened to every picture, so that nothing is dropped in silence."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from workbench.data.dataset import Dataset
from workbench.data.loader import Loader

__all__ = ["BucketRow", "Ledger", "Row", "ledger"]

COLUMNS = (
    *("name", "subset", "width", "height", "bucket"),
    *("scale", "crop", "lost", "repeats", "mask", "set_aside"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One picture or file."""

    name: str
    subset: int | None  # None for files set aside
    width: int | None = None  # px
    height: int | None = None
    bucket: tuple[int, int] | None = None
    scale: float | None = None  # resized over original
    crop: tuple[int, int, int, int] | None = None  # left, top, width, height after resizing
    lost: float | None = None  # share cut off
    repeats: int = 0
    mask: float | None = None  # share that is learnt; None without a mask
    reason: str = ""  # why it is set aside


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One bucket."""

    bucket: tuple[int, int]
    num_images: int
    num_showings: int  # in an epoch, repeats included
    num_batches: int  # micro-batches of one process in an epoch; 0 without a loader
    short: tuple[str, ...] = ()  # names in the first epoch's batch that is not full
    repeated: tuple[str, ...] = ()  # names shown once more so that every process has one


@dataclass(frozen=True)
class Ledger:
    """Every picture, every bucket, everything set aside."""

    dataset: Dataset
    buckets: tuple[BucketRow, ...]

    def rows(self) -> Iterator[Row]:
        """Go through all pictures, then all files that were set aside.

        Yields:
            One row for each.
        """
        dataset = self.dataset
        for record, placement, mask in zip(
            dataset.records, dataset.placements, dataset.masks, strict=True
        ):
            yield Row(
                record.name,
                record.subset,
                record.width,
                record.height,
                placement.bucket,
                placement.scale,
                placement.crop,
                placement.lost,
                record.repeats,
                mask.coverage if mask else None,
            )
        for item in dataset.set_aside:
            yield Row(item.name, None, reason=item.reason)

    def to_csv(self) -> str:
        """The rows for a spreadsheet.

        Returns:
            CSV text with a header line.
        """
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for row in self.rows():
            writer.writerow(
                [
                    row.name,
                    row.subset,
                    row.width,
                    row.height,
                    "x".join(map(str, row.bucket or ())),
                    "" if row.scale is None else f"{row.scale:.4f}",
                    " ".join(map(str, row.crop or ())),
                    "" if row.lost is None else f"{row.lost:.4f}",
                    row.repeats,
                    "" if row.mask is None else f"{row.mask:.4f}",
                    row.reason,
                ]
            )
        return text.getvalue()


def ledger(dataset: Dataset, *, loader: Loader | None = None) -> Ledger:
    """Make the account.

    Args:
        dataset: all pictures.
        loader: for the batches; its pictures alone are counted in the buckets then.
    Returns:
        The account; buckets come in order of their size.
    """
    images, showings, batches = Counter(), Counter(), Counter()
    indices = loader.indices if loader else range(len(dataset))
    for index in indices:
        bucket = dataset.placements[index].bucket
        images[bucket] += 1
        showings[bucket] += dataset.repeats[index]
    short, repeated = {}, {}
    if loader:
        batches = loader.batches_per_bucket
        for batch in loader.short_batches():
            short[batch.bucket] = tuple(dataset.records[i].name for i in batch.records)
            repeated[batch.bucket] = tuple(dataset.records[i].name for i in batch.repeated)
    rows = (
        BucketRow(b, images[b], showings[b], batches[b], short.get(b, ()), repeated.get(b, ()))
        for b in sorted(images)
    )
    return Ledger(dataset, tuple(rows))
