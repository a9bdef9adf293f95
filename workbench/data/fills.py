"""What a base for inpainting fills in: the masks of a dataset's pictures, and a cache of both.

Masks are drawn ahead, a few for each picture, so that what lies under them is encoded once.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from workbench.data.buckets import Placement
from workbench.data.cache import Shards, entry_key, finite
from workbench.data.dataset import Dataset
from workbench.data.inpainting import InpaintingSettings

__all__ = ["FillCache", "Fills"]

Encode = Callable[[Tensor, Tensor], Tensor]
_Wanted = tuple[int, bool, int]  # record, mirrored or not, which of its masks


class Fills:
    """The masks of a dataset's pictures.

    Args:
        dataset: whose settings say where they come from.
        seed: the run's, for random ones.
    """

    def __init__(self, dataset: Dataset, *, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.settings = dataset.settings.inpainting or InpaintingSettings()
        own = dataset.settings.inpainting is not None  # otherwise files weigh the loss
        self._files = dataset.masks if own else [None] * len(dataset)

    def count(self, index: int) -> int:
        """How many masks a picture has; its showings take them in turn.

        Args:
            index: of its record.
        Returns:
            1 where a file is its mask, otherwise `data.inpainting.masks`.
        """
        return self.settings.masks if self._files[index] is None else 1

    def mask(
        self, index: int, number: int, *, flipped: bool = False, placement: Placement | None = None
    ) -> Tensor:
        """One of a picture's masks.

        Args:
            index: of its record.
            number: which one, in [0, `count`).
            flipped: mirrored, after the crop.
            placement: of a showing; the picture's own when left out.
        Returns:
            (1, H, W) of its bucket: 1 where the picture is made anew, 0 where it is kept.
        Raises:
            FileRefused: the mask is gone or damaged since it was indexed.
        """
        placement = placement or self.dataset.placements[index]
        file, (width, height) = self._files[index], placement.bucket
        if file is not None:
            cut = file.pixels(placement)
        else:
            cut = self.settings.draw((height, width), seed=self.seed, place=(index, number))
        return cut.flip(-1) if flipped else cut

    def name(self, index: int, number: int) -> str:
        """What a mask is known by in a cache: its content, or what it is drawn from.

        Args:
            index: of the record.
            number: which of its masks.
        Returns:
            Equal for equal masks.
        """
        file, (width, height) = self._files[index], self.dataset.placements[index].bucket
        if file is not None:
            return hashlib.sha256(file.open().tobytes()).hexdigest()
        return self.settings.name((height, width), seed=self.seed, place=(index, number))


class FillCache:
    """Mask and masked picture of every picture, for each of its masks.

    Args:
        fills: the masks.
        folder: where shards lie; runs may share it.
        key: identity of the autoencoder: weights, dtype and version of its code.
    """

    def __init__(self, fills: Fills, *, folder: Path, key: str) -> None:
        self.fills, self.dataset, self.key = fills, fills.dataset, key
        self.flips = (False, True) if self.dataset.settings.augment.flip else (False,)
        self._shards = Shards(folder)
        self._keys: dict[_Wanted, str] = {}

    def build(self, encode: Encode) -> Iterator[tuple[int, int]]:
        """Encode what is missing, `vae_batch_size` pictures of one bucket at once.

        Args:
            encode: pixels (B, 3, H, W) in [-1, 1] and masks (B, 1, H, W) to what is laid beside
                noisy latents, (B, C, h, w).
        Yields:
            Masked pictures done and in total, at the start and after every batch.
        Raises:
            FileRefused: a picture or mask is damaged, or a latent is not finite; it is named.
        """
        every = [
            (index, flipped, number)
            for index in range(len(self.dataset))
            for flipped in self.flips
            for number in range(self.fills.count(index))
        ]
        batches = self._missing(every)
        done = len(every) - sum(map(len, batches))
        yield done, len(every)
        try:
            for batch in batches:
                self._encode(batch, encode)
                done += len(batch)
                yield done, len(every)
        finally:
            self._shards.flush()

    def read(self, index: int, number: int, *, flipped: bool = False) -> Tensor:
        """Read what is laid beside one picture's noisy latents.

        Args:
            index: of its record.
            number: which of its masks.
            flipped: of the mirrored picture.
        Returns:
            Mask and mean latents of the masked picture, float32, (C, h, w).
        """
        return self._shards.read(self._key((index, flipped, number)))["beside"].float()

    def _missing(self, every: Sequence[_Wanted]) -> list[list[_Wanted]]:
        groups: dict[tuple[int, int], list[_Wanted]] = defaultdict(list)
        known = set(self._shards.places)
        for wanted in every:
            if (key := self._key(wanted)) not in known:
                known.add(key)  # a picture listed twice counts once
                groups[self.dataset.placements[wanted[0]].bucket].append(wanted)
        size = self.dataset.settings.cache.vae_batch_size
        return [
            group[start : start + size]
            for group in groups.values()
            for start in range(0, len(group), size)
        ]

    def _encode(self, batch: Sequence[_Wanted], encode: Encode) -> None:
        opened = {index: self.dataset.pixels(index) for index in dict.fromkeys(w[0] for w in batch)}
        pixels = [opened[i].flip(-1) if flipped else opened[i] for i, flipped, _ in batch]
        masks = [self.fills.mask(i, number, flipped=flipped) for i, flipped, number in batch]
        with torch.no_grad():
            encoded = encode(torch.stack(pixels), torch.stack(masks)).cpu()
        for row, wanted in zip(encoded, batch, strict=True):
            label = self.dataset.label(self.dataset.records[wanted[0]])
            half = finite(row, torch.float16, label=label, encoder="its masked latent")
            self._shards.add(self._key(wanted), {"beside": half})

    def _key(self, wanted: _Wanted) -> str:
        if wanted not in self._keys:
            index, flipped, number = wanted
            record, placement = self.dataset.records[index], self.dataset.placements[index]
            self._keys[wanted] = entry_key(
                "beside",
                self.dataset.content_hash(record),
                placement.resized,
                placement.crop,
                self.key,
                flipped,
                self.fills.name(index, number),
                *self.dataset.conversion(record),
            )
        return self._keys[wanted]
