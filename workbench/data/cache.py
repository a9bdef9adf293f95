"""Latents and text embeddings computed once, keyed by what they were computed from.

Both lie in a few safetensors shards: latents in float16, text in its encoder's own precision, so
that what is read equals what would be encoded, bit for bit. A key is a hash of the picture's
content, its crop and the encoder, never a file name, so that an edited picture is encoded again and
a renamed one is not. A shard appears whole or not at all; an interrupted build goes on.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench import store
from workbench.settings import Settings, setting
from workbench.store import FileRefused

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

__all__ = [
    "CacheSettings",
    "LatentCache",
    "LatentNotFinite",
    "Shards",
    "TextCache",
    "entry_key",
    "finite",
]

VERSION = "1"  # part of every key: raise it when pixels or storage change
ITEMS_PER_SHARD = 512  # what an interrupted build can lose
BYTES_PER_SHARD = 256 << 20
Encode = Callable[[Tensor], tuple[Tensor, Tensor | None]]
LOOKAHEAD = 2  # batches decoded while one is encoded


class LatentNotFinite(FileRefused):
    """A cached latent is NaN or infinite; the picture is named, and nothing is put in its place."""


class CacheSettings(Settings):
    """What is computed once and kept on the disk."""

    latents: bool = setting(
        True, help="keep encoded pictures; those drawn on the fly are never kept"
    )
    text: bool = setting(
        True, help="keep encoded captions where neither captions nor text encoder change"
    )
    vae_batch_size: int = setting(
        4, ge=1, le=256, unit="pictures", help="pictures of one bucket encoded at once"
    )


class Shards:
    """Named entries of a few tensors each, stacked by shape into safetensors files.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[str, tuple[Path, str, int]] = {}  # entry -> shard, group, row
        self.notes: list[str] = []
        self._open: dict[Path, dict[str, Tensor]] = {}
        self._waiting: dict[str, list[tuple[str, dict[str, Tensor]]]] = defaultdict(list)
        self._num_waiting = self._num_bytes = 0
        for path in sorted(folder.glob("*.safetensors")):
            self._take(path)

    def _take(self, path: Path) -> None:
        """Learn what a shard holds; a damaged one is made again, since it can be."""
        try:
            groups = json.loads(store.read_header(path)[0]["entries"])
        except (FileRefused, KeyError, ValueError) as error:
            path.unlink()
            self.notes.append(f"cache file {path.name} was damaged and is made again ({error})")
            return
        for group, entries in groups.items():
            for row, entry in enumerate(entries):
                self.places[entry] = (path, group, row)

    def add(self, entry: str, tensors: Mapping[str, Tensor]) -> None:
        """Take one entry; it is on the disk after the next `flush`.

        Args:
            entry: its key.
            tensors: on the CPU.
        """
        group = "/".join(f"{name}:{tuple(tensor.shape)}" for name, tensor in tensors.items())
        self._waiting[group].append((entry, dict(tensors)))
        self._num_waiting += 1
        self._num_bytes += sum(tensor.nbytes for tensor in tensors.values())
        if self._num_waiting >= ITEMS_PER_SHARD or self._num_bytes >= BYTES_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting as one shard."""
        if not self._num_waiting:
            return
        groups = {group: [entry for entry, _ in rows] for group, rows in self._waiting.items()}
        content = json.dumps(groups)
        path = self.folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.safetensors"
        stacked = {
            f"{group}/{name}": torch.stack([tensors[name] for _, tensors in rows])
            for group, rows in self._waiting.items()
            for name in rows[0][1]
        }
        store.save_tensors(path, stacked, {"entries": content})
        self._waiting.clear()
        self._num_waiting = self._num_bytes = 0
        self._take(path)

    def read(self, entry: str) -> dict[str, Tensor]:
        """The tensors of one entry; the shard stays mapped, the system keeps what fits.

        Args:
            entry: one of `places`.
        Returns:
            Name to tensor.
        """
        path, group, row = self.places[entry]
        if path not in self._open:
            self._open[path] = store.load_tensors(path)
        names = [part.partition(":")[0] for part in group.split("/")]
        return {name: self._open[path][f"{group}/{name}"][row] for name in names}


def entry_key(*parts: object) -> str:
    """Key of an entry.

    Args:
        parts: all that its tensors were computed from.
    Returns:
        32 hex digits.
    """
    return hashlib.sha256(json.dumps([VERSION, *parts]).encode()).hexdigest()[:32]


def finite(tensor: Tensor, dtype: torch.dtype, *, label: str, encoder: str) -> Tensor:
    """One tensor to store, refused by name unless finite: a zero in its place would train.

    Args:
        tensor: on any device.
        dtype: to store it in.
        label: whose it is.
        encoder: what made it.
    Returns:
        The tensor on the CPU.
    Raises:
        FileRefused: it is NaN or infinite, or becomes so in `dtype`.
    """
    stored = tensor.detach().to("cpu", dtype)
    if not torch.isfinite(stored).all():
        finite = bool(torch.isfinite(tensor).all())
        problem = f"reaches {tensor.abs().max():.3g}" if finite else "is NaN or infinite"
        raise FileRefused(f"{label}: {encoder} {problem}; run that model in float32 or bfloat16")
    return stored


class LatentCache:
    """The autoencoder's mean and standard deviation of every picture, and of its mirror image."""

    def __init__(self, dataset: "Dataset", *, folder: Path, key: str) -> None:
        """Look up what exists already.

        Args:
            dataset: the pictures; its settings say whether they are flipped too.
            folder: where shards lie; runs may share it.
            key: identity of the autoencoder: weights, dtype and version of its code.
        """
        assert not dataset.is_drawn, "pictures of a drawn world are new in every epoch"
        self.dataset, self.key = dataset, key
        self.flips = (False, True) if dataset.settings.augment.flip else (False,)
        self._shards = Shards(folder)
        self._hashes: dict[int, str] = {}

    @property
    def notes(self) -> list[str]:
        """What happened to damaged files."""
        return self._shards.notes

    def build(
        self,
        encode: Encode,
        *,
        indices: Iterable[int] | None = None,
    ) -> Iterator[tuple[int, int]]:
        """Encode what is missing, `vae_batch_size` pictures of one bucket at once.

        Args:
            encode: pixels (B, 3, H, W) in [-1, 1] to mean and standard deviation (B, C, h, w); no
                deviation where the encoder gives one answer.
            indices: of the pictures; all when left out.
        Yields:
            Pictures done and in total, at the start and after every batch.
        Raises:
            FileRefused: a picture is damaged, or its latent is not finite; it is named.
        """
        wanted = list(range(len(self.dataset)) if indices is None else indices)
        batches = self._missing(wanted, self.dataset.settings.cache.vae_batch_size)
        done = len(wanted) - sum(len(batch) for _, batch in batches)
        yield done, len(wanted)
        try:
            for (flips, batch), pixels in zip(batches, self._decoded(batches), strict=True):
                self._encode(batch, flips, pixels=pixels, encode=encode)
                done += len(batch)
                yield done, len(wanted)
        finally:
            self._shards.flush()

    def _decoded(self, batches: Sequence[tuple[tuple[bool, ...], list[int]]]) -> Iterator[Tensor]:
        """Pixels of each batch; decoded ahead where a GPU encodes meanwhile.

        On a CPU the decoding threads would take the cores from the encoder's own: measured, it was
        a quarter slower than one after the other.
        """
        if not torch.cuda.is_available():
            yield from (self._pixels(batch) for _, batch in batches)
            return
        with ThreadPoolExecutor(max_workers=LOOKAHEAD) as pool:
            waiting = [pool.submit(self._pixels, batch) for _, batch in batches[:LOOKAHEAD]]
            try:
                for position in range(len(batches)):
                    pixels = waiting.pop(0).result()
                    if position + LOOKAHEAD < len(batches):
                        later = batches[position + LOOKAHEAD][1]
                        waiting.append(pool.submit(self._pixels, later))
                    yield pixels
            finally:
                for future in waiting:
                    future.cancel()

    def read(self, index: int, flipped: bool = False) -> tuple[Tensor, Tensor | None]:
        """Read one picture's latent distribution.

        Args:
            index: of its record.
            flipped: of the mirrored picture.
        Returns:
            Mean and standard deviation, float32, (C, h, w); None where there is no distribution.
        Raises:
            FileRefused: the stored latent is not finite; the picture is named.
        """
        tensors = self._shards.read(self._key(index, flipped))
        if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            path = self._shards.places[self._key(index, flipped)][0]
            raise LatentNotFinite(f"{self._label(index)}: its latent in {path} is NaN or infinite")
        std = tensors.get("std")
        return tensors["mean"].float(), None if std is None else std.float()

    def _key(self, index: int, flipped: bool) -> str:
        if index not in self._hashes:
            self._hashes[index] = self.dataset.content_hash(self.dataset.records[index])
        placement = self.dataset.placements[index]
        return entry_key(
            "latent",
            self._hashes[index],
            placement.resized,
            placement.crop,
            self.key,
            flipped,
            *self.dataset.conversion(self.dataset.records[index]),
        )

    def _missing(
        self, wanted: list[int], batch_size: int
    ) -> list[tuple[tuple[bool, ...], list[int]]]:
        """Batches of one bucket that lack the same versions; a picture listed twice counts once."""
        groups: dict[tuple, list[int]] = defaultdict(list)
        known = set(self._shards.places)
        for index in wanted:
            keys = {flipped: self._key(index, flipped) for flipped in self.flips}
            flips = tuple(f for f, key in keys.items() if key not in known)
            known.update(keys.values())
            if flips:
                groups[flips, self.dataset.placements[index].bucket].append(index)
        return [
            (flips, members[start : start + batch_size])
            for (flips, _), members in groups.items()
            for start in range(0, len(members), batch_size)
        ]

    def _pixels(self, batch: Sequence[int]) -> Tensor:
        return torch.stack([self.dataset.pixels(index) for index in batch])

    def _encode(
        self,
        batch: Sequence[int],
        flips: tuple[bool, ...],
        *,
        pixels: Tensor,
        encode: Encode,
    ) -> None:
        for flipped in flips:
            with torch.no_grad():
                encoded = encode(pixels.flip(-1) if flipped else pixels)
            named = zip(("mean", "std"), encoded, strict=True)
            moments = {name: one.cpu() for name, one in named if one is not None}  # one wait each
            for row, index in enumerate(batch):
                label = self._label(index)
                halves = {
                    name: finite(part[row], torch.float16, label=label, encoder="its latent")
                    for name, part in moments.items()
                }
                self._shards.add(self._key(index, flipped), halves)

    def _label(self, index: int) -> str:
        return self.dataset.label(self.dataset.records[index])


class TextCache:
    """The text encoder's output for every distinct caption."""

    def __init__(self, *, folder: Path, key: str) -> None:
        """Look up what exists already.

        Args:
            folder: where shards lie; runs may share it.
            key: identity of the text encoders: weights, dtype, skipped layers.
        """
        self.key = key
        self._shards = Shards(folder)

    @property
    def notes(self) -> list[str]:
        """What happened to damaged files."""
        return self._shards.notes

    def build(
        self,
        captions: Iterable[str],
        encode: Callable[[list[str]], Sequence[Mapping[str, Tensor]]],
        *,
        batch_size: int = 16,
    ) -> Iterator[tuple[int, int]]:
        """Encode what is missing.

        Args:
            captions: texts; each distinct one is encoded once.
            encode: B texts to B entries of named tensors.
            batch_size: texts encoded at once.
        Yields:
            Texts done and in total, at the start and after every batch.
        Raises:
            FileRefused: an embedding is not finite; its caption is named.
        """
        texts = list(dict.fromkeys(captions))
        missing = [text for text in texts if self._key(text) not in self._shards.places]
        done = len(texts) - len(missing)
        yield done, len(texts)
        try:
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                with torch.no_grad():
                    encoded = encode(batch)
                for one, text in zip(encoded, batch, strict=True):
                    label = f"caption {text!r}"
                    rows = {
                        name: finite(tensor, tensor.dtype, label=label, encoder="its embedding")
                        for name, tensor in one.items()
                    }
                    self._shards.add(self._key(text), rows)
                done += len(batch)
                yield done, len(texts)
        finally:
            self._shards.flush()

    def read(self, caption: str) -> dict[str, Tensor]:
        """Read one caption's embedding.

        Args:
            caption: one of the texts that were built.
        Returns:
            Named tensors without the batch dimension, as they were encoded.
        Raises:
            KeyError: the text was never built.
        """
        return self._shards.read(self._key(caption))

    def __contains__(self, caption: str) -> bool:
        return self._key(caption) in self._shards.places

    def _key(self, caption: str) -> str:
        return entry_key("text, as encoded", caption, self.key)
