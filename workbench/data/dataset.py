"""From sources to records: every picture found is either used or set aside by name."""

import hashlib
import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image

from workbench import store
from workbench.critters.draw import world
from workbench.data.augment import AugmentSettings, fit
from workbench.data.buckets import BucketSettings, Placement
from workbench.data.cache import CacheSettings
from workbench.data.captions import CaptionSettings, draw_caption
from workbench.data.reading import read_subset
from workbench.data.sources import open_archive
from workbench.data.subsets import (
    WORLD,
    Computed,
    Record,
    SetAside,
    Subset,
    world_length,
    world_record,
)
from workbench.seeds import generator, python_random
from workbench.settings import Settings, SettingsError, setting

__all__ = ["DataSettings", "Dataset", "Record", "SetAside", "Subset", "index", "split"]

MIN_TO_HOLD_OUT = 20  # below, every picture is needed for training
T = TypeVar("T")


class DataSettings(Settings):
    """The pictures and everything that is done to them before a training step."""

    subsets: tuple[Subset, ...] = setting((), help="sources of pictures")
    captions: CaptionSettings = setting(CaptionSettings(), help="how captions vary")
    buckets: BucketSettings = setting(BucketSettings(), help="sizes that pictures are trained at")
    augment: AugmentSettings = setting(AugmentSettings(), help="how pictures vary")
    cache: CacheSettings = setting(CacheSettings(), help="what is computed once and kept")
    holdout: float = setting(
        0.1,
        ge=0,
        le=0.5,
        help="share of pictures kept from training, to see overfitting; from 20 up",
    )


class Dataset:
    """All usable pictures, in an order that depends on their names alone."""

    def __init__(
        self,
        settings: DataSettings,
        *,
        records: Sequence[Record],
        placements: Sequence[Placement],
        repeats: Sequence[int],
        set_aside: tuple[SetAside, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        assert len(records) == len(placements) == len(repeats)
        self.settings = settings
        self.records = records
        self.placements = placements
        self.repeats = repeats
        self.set_aside = set_aside
        self.notes = notes

    def __len__(self) -> int:
        return len(self.records)

    @property
    def is_drawn(self) -> bool:
        """True where a subset draws new pictures in every epoch."""
        return any(subset.path == WORLD for subset in self.settings.subsets)

    def record(self, index: int, *, epoch: int = 0) -> Record:
        """The record of one picture; a drawn world has others in every epoch, of the same sizes.

        Args:
            index: 0 to len - 1.
            epoch: counted from 0.
        Returns:
            Its record.
        """
        record = self.records[index]
        if record.number is None or epoch == 0:
            return record
        subset = self.settings.subsets[record.subset]
        number = record.number + epoch * world_length(subset)
        size = (record.width, record.height)
        return world_record(subset, record.subset, number=number, size=size)

    def open(self, record: Record) -> Image.Image:
        """Decode a picture.

        Args:
            record: of this dataset.
        Returns:
            Upright RGB picture.
        Raises:
            FileRefused: it is gone or damaged since it was indexed.
        """
        if record.number is not None:
            size = (record.width, record.height)
            return world(self._subset(record).seed, record.number, (size,))[0]
        source = io.BytesIO(self._bytes(record)) if record.path is None else record.path
        with store.open_image(source, name=self.label(record)) as image:
            try:
                rgb, _ = store.to_rgb(image)
            except store.FileRefused as error:
                reason = str(error).removeprefix(f"{record.path or 'image'}: ")
                raise store.FileRefused(f"{self.label(record)}: {reason}") from None
        if rgb.size != (record.width, record.height):
            raise store.FileRefused(
                f"{self.label(record)}: was {record.width} x {record.height} px when it was "
                f"indexed and is {rgb.width} x {rgb.height} now; start again"
            )
        return rgb

    def pixels(self, index: int, *, flipped: bool = False, epoch: int = 0) -> torch.Tensor:
        """A picture as the autoencoder takes it.

        Args:
            index: of its record.
            flipped: mirrored.
            epoch: counted from 0; matters to a drawn world.
        Returns:
            Pixels in [-1, 1], float32, (3, H, W) of its bucket.
        """
        record = self.record(index, epoch=epoch)
        return fit(self.open(record), self.placements[index], flipped=flipped)

    def caption(
        self, index: int, *, seed: int, epoch: int = 0, repeat: int = 0, step: int = 0
    ) -> str:
        """Draw the caption of one showing of a picture.

        Args:
            index: of its record.
            seed: the run's.
            epoch: counted from 0.
            repeat: which of the picture's showings in this epoch, from 0.
            step: optimizer step, for the warm-up.
        Returns:
            The text that the model sees.
        """
        record = self.record(index, epoch=epoch)
        return draw_caption(
            record.caption,
            self.settings.captions,
            rng=python_random(seed, "caption", epoch, index, repeat),
            trigger=self._subset(record).trigger,
            class_word=self._subset(record).class_word,
            step=step,
            epoch=epoch,
        )

    def plain_caption(self, index: int) -> str:
        """A picture's caption with its trigger and with nothing shuffled or dropped.

        Args:
            index: of its record.
        Returns:
            The text, always the same; wildcards are drawn once and for all.
        """
        record = self.records[index]
        varied = self.settings.captions
        still = CaptionSettings(separator=varied.separator, wildcards=varied.wildcards)
        return draw_caption(
            record.caption,
            still,
            rng=python_random(0, "plain caption", index),
            trigger=self._subset(record).trigger,
            class_word=self._subset(record).class_word,
        )

    def texts(self) -> list[str]:
        """All texts that training can ask for where captions are fixed (`captions.is_fixed`).

        Returns:
            Distinct texts in order; "" is among them where whole captions are dropped.
        """
        settings = self.settings.captions
        drops = settings.caption_dropout > 0 or settings.caption_dropout_every_epochs is not None
        texts = map(self.plain_caption, range(len(self)))
        return list(dict.fromkeys([*texts, *([""] if drops else [])]))

    def fingerprint(self) -> str:
        """What a resumed run compares to see whether the pictures or captions have changed.

        Returns:
            SHA-256 over names, sizes, captions, repeats and placements, 64 hex digits; a drawn
            world counts by its settings, and a folder may have moved.
        """
        digest = hashlib.sha256()
        for subset in self.settings.subsets:
            if subset.path == WORLD:
                digest.update(subset.model_dump_json().encode())
        if any(subset.path != WORLD for subset in self.settings.subsets):  # else nothing to read
            for record, placement in zip(self.records, self.placements, strict=True):
                if record.number is None:
                    digest.update(repr((replace(record, path=None), placement)).encode())
        return digest.hexdigest()

    def content_hash(self, record: Record) -> str:
        """What identifies a picture wherever it lies.

        Args:
            record: of this dataset.
        Returns:
            SHA-256 of the file, 64 hex digits; of the pixels for a drawn picture.
        """
        if record.path is not None:
            return store.file_hash(record.path)
        drawn = record.number is not None
        data = self.open(record).tobytes() if drawn else self._bytes(record)
        return hashlib.sha256(data).hexdigest()

    def label(self, record: Record) -> str:
        """A picture's name for messages, unmistakable and printable.

        Args:
            record: of this dataset.
        Returns:
            Its path, or archive and member.
        """
        text = str(record.path or f"{self._subset(record).path}/{record.name}")
        return text if text.isprintable() else ascii(text)

    def _subset(self, record: Record) -> Subset:
        return self.settings.subsets[record.subset]

    def _bytes(self, record: Record) -> bytes:
        assert record.member is not None
        return open_archive(Path(self._subset(record).path).expanduser()).read(record.member)


def split(dataset: Dataset, holdout: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Keep some pictures from training, so that overfitting can be seen.

    Args:
        dataset: all pictures.
        holdout: share held out; nothing is held out below 20 pictures.
        seed: the run's.
    Returns:
        Indices to train on and indices held out, each in rising order.
    """
    count = len(dataset)
    num_held = round(count * holdout) if count >= MIN_TO_HOLD_OUT else 0
    order = torch.randperm(count, generator=generator(seed, "holdout")).tolist()
    return sorted(order[num_held:]), sorted(order[:num_held])


def index(settings: DataSettings) -> Dataset:
    """Find all pictures of all subsets and place them in buckets; reads headers, decodes nothing.

    Args:
        settings: subsets and bucket sizes.
    Returns:
        The dataset; what cannot be used is in `set_aside`.
    Raises:
        SettingsError: no subset, a source that is not there, or no usable picture at all.
        FileRefused: a dangerous zip or damaged metadata.
    """
    if not settings.subsets:
        raise SettingsError("data.subsets must name at least one folder, .zip or critters:world")
    readings = [
        read_subset(subset, position, settings.buckets)
        for position, subset in enumerate(settings.subsets)
    ]
    set_aside = tuple(item for reading in readings for item in reading.set_aside)
    notes = tuple(note for reading in readings for note in reading.notes)
    if not any(reading.records for reading in readings):
        raise SettingsError(_nothing_usable(settings, set_aside, notes))
    return Dataset(
        settings,
        records=_joined([reading.records for reading in readings]),
        placements=_joined([reading.placements for reading in readings]),
        repeats=_joined([reading.repeats for reading in readings]),
        set_aside=set_aside,
        notes=notes,
    )


def _joined(parts: list[Sequence[T]]) -> Sequence[T]:
    """One sequence of several; plain lists are copied, drawn worlds stay computed."""
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, list) for part in parts):
        return [item for part in parts for item in part]
    ends = list(accumulate(map(len, parts)))

    def make(position: int) -> T:
        part = bisect_right(ends, position)
        return parts[part][position - ends[part] + len(parts[part])]

    return Computed(ends[-1], make)


def _nothing_usable(
    settings: DataSettings, set_aside: tuple[SetAside, ...], notes: tuple[str, ...]
) -> str:
    paths = ", ".join(subset.path for subset in settings.subsets)
    lines = [f"no usable picture in {paths}: {len(set_aside)} files were set aside"]
    if not set_aside:
        lines = [f"no picture in {paths}: put .png, .jpg or .webp files there, or name another"]
    # Reasons differ in their numbers; the first few files say what is wrong.
    lines += [f"  {item.name!a}: {item.reason}" for item in set_aside[:5]]
    lines += [f"  and {len(set_aside) - 5} more"] if len(set_aside) > 5 else []
    return "\n".join([*lines, *(f"  note: {note}" for note in notes)])
