"""From sources to records: every picture found is either used or set aside by name."""

import hashlib
import io
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

from workbench import store
from workbench.critters.draw import world
from workbench.data.augment import Look, cut, look, recolour, to_tensor
from workbench.data.buckets import Placement
from workbench.data.captions import CaptionSettings, draw_caption, is_dropped, vary
from workbench.data.holdout import split
from workbench.data.joining import joined, nothing_usable, without_box
from workbench.data.masks import Mask
from workbench.data.priors import balance, class_word, wordless
from workbench.data.reading import read_subset
from workbench.data.settings import DataSettings
from workbench.data.sources import open_archive
from workbench.data.subsets import (
    WORLD,
    Record,
    SetAside,
    Subset,
    world_length,
    world_record,
)
from workbench.seeds import python_random
from workbench.settings import SettingsError

__all__ = ["DataSettings", "Dataset", "Record", "SetAside", "Subset", "index", "split"]


class Dataset:
    """All usable pictures, in an order that depends on their names alone."""

    def __init__(
        self,
        settings: DataSettings,
        *,
        records: Sequence[Record],
        placements: Sequence[Placement],
        repeats: Sequence[int],
        masks: Sequence[Mask | None] | None = None,
        set_aside: tuple[SetAside, ...] = (),
        notes: tuple[str, ...] = (),
        doubts: tuple[str, ...] = (),
    ) -> None:
        assert len(records) == len(placements) == len(repeats)
        self.settings = settings
        self.records = records
        self.placements = placements
        self.repeats = repeats
        self.masks = [None] * len(records) if masks is None else masks
        self.set_aside = set_aside
        self.notes = notes
        self.doubts = doubts  # what may be lost or mistaken, for the checks

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

    @cached_property
    def priors(self) -> frozenset[int]:
        """Indices of the pictures that preserve the prior."""
        if not any(subset.is_prior for subset in self.settings.subsets):
            return frozenset()  # without asking every picture of a drawn world
        pairs = enumerate(self.records)
        return frozenset(index for index, record in pairs if self._subset(record).is_prior)

    def loss_weights(self, indices: Sequence[int]) -> list[float] | None:
        """How much some pictures count in the loss.

        Args:
            indices: of their records.
        Returns:
            The loss weight of each one's subset; None where all subsets count alike.
        """
        if all(subset.loss_weight == 1 for subset in self.settings.subsets):
            return None
        return [self._subset(self.records[index]).loss_weight for index in indices]

    def mask(
        self, index: int, *, flipped: bool = False, placement: Placement | None = None
    ) -> torch.Tensor | None:
        """How much of each place of a picture is to be learnt.

        Args:
            index: of its record.
            flipped: mirrored, after the crop.
            placement: of a showing; its own when left out.
        Returns:
            Shares in [0, 1], (height / 8, width / 8) of its bucket; None where all of it is, as of
            every picture where masks say what is filled in.
        Raises:
            FileRefused: the mask is gone or damaged since it was indexed.
        """
        mask = self.masks[index]
        if mask is None or self.settings.inpainting is not None:
            return None
        shares = mask.shares(placement or self.placements[index])
        return shares.flip(-1) if flipped else shares

    def open(self, record: Record, placement: Placement | None = None) -> Image.Image:
        """Decode a picture.

        Args:
            record: of this dataset.
            placement: how to cut it; not at all when left out.
        Returns:
            Upright RGB picture.
        Raises:
            FileRefused: it is gone or damaged since it was indexed.
        """
        if record.number is not None:
            size = (record.width, record.height)
            drawn = world(self._subset(record).seed, record.number, (size,))[0]
            return cut(drawn, placement) if placement else drawn
        sizes = []

        def cut_out(image: Image.Image) -> Image.Image:
            sizes.append(image.size)
            return cut(image, placement) if placement else image

        source = io.BytesIO(self._bytes(record)) if record.path is None else record.path
        with store.open_image(source, name=self.label(record)) as image:
            try:
                ground = self.settings.background
                rgb, _ = store.to_rgb(image, background=ground, cut=cut_out)
            except store.FileRefused as error:
                reason = str(error).removeprefix(f"{record.path or 'image'}: ")
                raise store.FileRefused(f"{self.label(record)}: {reason}") from None
        width, height = sizes[0]
        if (width, height) != (record.width, record.height):
            raise store.FileRefused(
                f"{self.label(record)}: was {record.width} x {record.height} px when it was "
                f"indexed and is {width} x {height} now; start again"
            )
        return rgb

    def look(self, index: int, *, seed: int, epoch: int = 0, repeat: int = 0) -> Look:
        """Draw crop and colours of one showing of a picture.

        Args:
            index: of its record.
            seed: the run's.
            epoch: counted from 0.
            repeat: which of the picture's showings in this epoch, from 0.
        Returns:
            The look; that of `placements[index]` where nothing varies.
        """
        augment, placement = self.settings.augment, self.placements[index]
        if not augment.changes_pixels:
            return Look(placement)
        rng = python_random(seed, "look", epoch, index, repeat)
        return look(augment, placement, rng, box=self.records[index].box)

    def pixels(
        self, index: int, *, flipped: bool = False, epoch: int = 0, look: Look | None = None
    ) -> torch.Tensor:
        """A picture as the autoencoder takes it.

        Args:
            index: of its record.
            flipped: mirrored, after the crop.
            epoch: counted from 0; matters to a drawn world.
            look: crop and colours of a showing; its own when left out.
        Returns:
            Pixels in [-1, 1], float32, (3, H, W) of its bucket.
        """
        record = self.record(index, epoch=epoch)
        placement = look.placement if look else self.placements[index]
        pixels = to_tensor(self.open(record, placement), flipped=flipped)
        if look is None or not look.recoloured:
            return pixels
        return recolour(pixels, hue=look.hue, saturation=look.saturation, gamma=look.gamma)

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
        settings = self.settings.captions
        rng = python_random(seed, "caption", epoch, index, repeat)
        if is_dropped(settings, rng=rng, epoch=epoch):
            return ""
        if settings.variants is not None and not self.is_drawn:
            repeats = self.repeats[index]
            number = (epoch * repeats + repeat) % settings.variants
            return self._variant(index, number, seed=seed, step=step)
        return self._vary(self.record(index, epoch=epoch), rng, step=step)

    def _variant(self, index: int, number: int, *, seed: int, step: int) -> str:
        """One of the draws made ahead: what showing `number` of the picture would see anyway."""
        epoch, repeat = divmod(number, self.repeats[index])
        rng = python_random(seed, "caption", epoch, index, repeat)
        is_dropped(self.settings.captions, rng=rng)  # takes the number that it took in the showing
        return self._vary(self.records[index], rng, step=step)

    def _vary(self, record: Record, rng: random.Random, *, step: int) -> str:
        trigger, word = self.words(record)
        return vary(
            record.caption,
            self.settings.captions,
            rng=rng,
            trigger=trigger,
            class_word=word,
            step=step,
        )

    def words(self, record: Record) -> tuple[str | None, str | None]:
        """Trigger and class word put before a caption; that of a prior picture stands alone."""
        subset = self._subset(record)
        if not subset.is_prior:
            return subset.trigger, subset.class_word
        return None, None if record.caption else class_word(subset, self.settings.subsets)

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
        trigger, word = self.words(record)
        rng = python_random(0, "plain caption", index)
        return draw_caption(record.caption, still, rng=rng, trigger=trigger, class_word=word)

    def texts(self, indices: Sequence[int] | None = None, *, seed: int = 0) -> list[str]:
        """All texts that training and validation can ask for, so that they can be encoded once.

        Args:
            indices: of the pictures trained on, whose variants are drawn; all when left out.
            seed: the run's.
        Returns:
            Distinct texts in order: plain captions, "" where whole captions are dropped, and the
            variants made ahead. Other draws, and those of the warm-up, are not among them.
        """
        settings = self.settings.captions
        texts = dict.fromkeys(map(self.plain_caption, range(len(self))))
        if settings.drops_whole:
            texts[""] = None
        for index in range(len(self)) if indices is None else indices:
            for number in range(settings.variants or 0):
                text = self._variant(index, number, seed=seed, step=settings.warmup_steps)
                texts[text] = None
        return list(texts)

    def fingerprint(self) -> str:
        """What a resumed run compares to see whether the pictures or captions have changed.

        Returns:
            SHA-256 over names, sizes, captions, repeats, placements and masks, 64 hex digits; a
            drawn world counts by its settings, and a folder may have moved.
        """
        digest = hashlib.sha256()
        for subset in self.settings.subsets:
            if subset.path == WORLD:
                digest.update(subset.model_dump_json().encode())
        if any(subset.path != WORLD for subset in self.settings.subsets):  # else nothing to read
            for record, placement in zip(self.records, self.placements, strict=True):
                if record.number is None:
                    digest.update(repr((replace(record, path=None), placement)).encode())
                    digest.update(repr(record.box).encode() if record.box else b"")
                    digest.update(record.colour.encode())
        for mask in filter(None, self.masks):
            digest.update(mask.cells.numpy().tobytes())
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

    def conversion(self, record: Record) -> tuple[object, ...]:
        """What is done to a picture's colours, as part of its key in a cache.

        Args:
            record: of this dataset.
        Returns:
            Nothing for one whose values stay as they are, which was the only kind once.
        """
        colour = ("colour", store.COLOUR_VERSION) if record.colour else ()
        ground = self.settings.background
        return (*colour, *(("background", ground) if ground != "white" else ()))

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


def index(settings: DataSettings) -> Dataset:
    """Find all pictures of all subsets and place them in buckets; masks alone are decoded.

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
        read_subset(
            subset, position, settings.buckets, masks=settings.masks, filling=settings.inpainting
        )
        for position, subset in enumerate(settings.subsets)
    ]
    set_aside = tuple(item for reading in readings for item in reading.set_aside)
    notes = tuple(note for reading in readings for note in reading.notes)
    if settings.augment.crop == "box":
        notes += without_box(readings)
    notes += balance(settings.subsets, [sum(reading.repeats) for reading in readings])
    notes += wordless(settings.subsets, [reading.records for reading in readings])
    if not any(reading.records for reading in readings):
        raise SettingsError(nothing_usable(settings.subsets, set_aside, notes))
    return Dataset(
        settings,
        records=joined([reading.records for reading in readings]),
        placements=joined([reading.placements for reading in readings]),
        repeats=joined([reading.repeats for reading in readings]),
        masks=joined([reading.masks for reading in readings]),
        set_aside=set_aside,
        notes=notes,
        doubts=tuple(doubt for reading in readings for doubt in reading.doubts),
    )
