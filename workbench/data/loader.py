"""Which pictures each step sees: a pure function of (seed, epoch), so a position is a number.

Every process counts the same micro-batches of the same bucket and takes its own part of each.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from workbench.data.dataset import Dataset
from workbench.seeds import generator

__all__ = ["Item", "Loader", "MicroBatch", "ShortBatch", "Step"]

Size = tuple[int, int]  # width, height in px


@dataclass(frozen=True, slots=True)
class Item:
    """One showing of a picture."""

    record: int  # index in the dataset
    flipped: bool = False
    repeat: int = 0  # which of its showings in this epoch


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Pictures of one bucket that go through the model at once."""

    index: int  # counted over the whole run, the same in all processes
    epoch: int
    bucket: Size
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """The micro-batches of one optimizer step."""

    index: int  # counted over the whole run
    epoch: int
    micro_batches: tuple[MicroBatch, ...]


@dataclass(frozen=True, slots=True)
class ShortBatch:
    """A micro-batch that could not be filled."""

    bucket: Size
    records: tuple[int, ...]  # of all processes
    repeated: tuple[int, ...]  # shown once more so that every process has one


@dataclass(frozen=True, slots=True)
class _Epoch:
    """The order of one epoch in flat tensors; objects are made step by step."""

    showings: dict[Size, torch.Tensor]  # bucket -> shuffled positions, padded for the processes
    order: torch.Tensor  # shuffled indices of Loader._batches
    flips: dict[Size, torch.Tensor]


class Loader:
    """Endless steps over the pictures, restored at any step by its number alone."""

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int] | None = None,
        *,
        batch_size: int,
        seed: int,
        accumulation: int = 1,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        """Sort pictures into buckets.

        Args:
            dataset: all pictures; its settings say how often they are flipped.
            indices: of the pictures to show; all when left out.
            batch_size: pictures in a micro-batch of one process, >= 1.
            seed: the run's.
            accumulation: micro-batches in an optimizer step, >= 1; the last step may have fewer.
            rank: of this process.
            num_ranks: number of processes.
        """
        assert batch_size >= 1 and accumulation >= 1 and 0 <= rank < num_ranks
        self.batch_size, self.accumulation, self.seed = batch_size, accumulation, seed
        self.rank, self.num_ranks = rank, num_ranks
        self.flip = dataset.settings.augment.flip
        self.indices = range(len(dataset)) if indices is None else indices
        placements, repeats = dataset.placements, dataset.repeats
        shown: dict[Size, list[int]] = defaultdict(list)
        repeat: dict[Size, list[int]] = defaultdict(list)
        for index in self.indices:
            bucket = placements[index].bucket
            shown[bucket] += [index] * repeats[index]
            repeat[bucket] += range(repeats[index])
        self._shown = {bucket: torch.tensor(shown[bucket]) for bucket in sorted(shown)}
        self._repeat = {bucket: torch.tensor(repeat[bucket]) for bucket in self._shown}
        self._cached: tuple[int, _Epoch] | None = None

    @property
    def num_showings(self) -> int:
        """Pictures shown in an epoch, repeats included."""
        return sum(len(shown) for shown in self._shown.values())

    @cached_property
    def _batches(self) -> list[tuple[Size, int, int]]:
        """All micro-batches of an epoch: bucket, start and stop in its padded showings."""
        size = self.batch_size * self.num_ranks
        return [
            (bucket, start, min(start + size, padded))
            for bucket, shown in self._shown.items()
            for padded in [-(-len(shown) // self.num_ranks) * self.num_ranks]
            for start in range(0, padded, size)
        ]

    @property
    def batches_per_bucket(self) -> Counter[Size]:
        """Micro-batches of each process in an epoch, by bucket."""
        return Counter(bucket for bucket, _, _ in self._batches)

    @property
    def micro_batches_per_epoch(self) -> int:
        """Micro-batches of each process in an epoch."""
        return len(self._batches)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-len(self._batches) // self.accumulation)

    def steps(self, start: int = 0) -> Iterator[Step]:
        """Go on from any step, endlessly.

        Args:
            start: index of the first step wanted, over the whole run.
        Yields:
            Steps of this process.
        """
        while True:
            yield self.step(start)
            start += 1

    def step(self, index: int) -> Step:
        """One step, whatever came before.

        Args:
            index: over the whole run, >= 0.
        Returns:
            Its micro-batches of this process.
        """
        epoch, position = divmod(index, self.steps_per_epoch)
        first = position * self.accumulation
        last = min(first + self.accumulation, len(self._batches))
        return Step(index, epoch, tuple(self._micro_batch(epoch, i) for i in range(first, last)))

    def short_batches(self, epoch: int = 0) -> list[ShortBatch]:
        """Name the pictures in micro-batches that could not be filled.

        Args:
            epoch: counted from 0; which pictures they are changes with it.
        Returns:
            At most one for each bucket.
        """
        plan, short = self._epoch(epoch), []
        for bucket, start, stop in self._batches:
            showings = plan.showings[bucket]
            num_real = len(self._shown[bucket])
            full = stop - start == self.batch_size * self.num_ranks
            if stop == len(showings) and (not full or len(showings) > num_real):
                records = self._shown[bucket][showings].tolist()
                short.append(ShortBatch(bucket, tuple(records[start:]), tuple(records[num_real:])))
        return short

    def _micro_batch(self, epoch: int, position: int) -> MicroBatch:
        plan = self._epoch(epoch)
        bucket, start, stop = self._batches[int(plan.order[position])]
        mine = slice(start + self.rank, stop, self.num_ranks)
        showings = plan.showings[bucket][mine]
        items = zip(
            self._shown[bucket][showings].tolist(),
            plan.flips[bucket][mine].tolist(),
            self._repeat[bucket][showings].tolist(),
            strict=True,
        )
        index = epoch * len(self._batches) + position
        return MicroBatch(index, epoch, bucket, tuple(Item(*item) for item in items))

    def _epoch(self, epoch: int) -> _Epoch:
        """The order of an epoch; the latest is kept."""
        if self._cached is None or self._cached[0] != epoch:
            rng = generator(self.seed, "order", epoch)
            showings, flips = {}, {}
            for bucket, shown in self._shown.items():
                order = torch.randperm(len(shown), generator=rng)
                # With several processes the first ones are shown again to fill the last row.
                padding = torch.arange(-len(shown) % self.num_ranks) % len(shown)
                showings[bucket] = torch.cat([order, order[padding]])
                flips[bucket] = torch.rand(len(showings[bucket]), generator=rng) < self.flip
            batches = torch.randperm(len(self._batches), generator=rng)
            self._cached = epoch, _Epoch(showings, batches, flips)
        return self._cached[1]
