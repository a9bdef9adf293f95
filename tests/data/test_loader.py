"""Order, repeats, processes and positions of the loader."""

from collections import Counter
from itertools import islice

import pytest

from workbench.data.buckets import Placement
from workbench.data.dataset import Dataset, DataSettings, Record
from workbench.data.ledger import ledger
from workbench.data.loader import Loader

BUCKETS = {"a": (128, 128), "b": (144, 112), "c": (96, 160)}


def make(letters: str, repeats: list[int] | None = None, flip: float = 0.0) -> Dataset:
    placements = [Placement(BUCKETS[x], BUCKETS[x], (0, 0, *BUCKETS[x]), 1.0, 0.0) for x in letters]
    records = [Record(f"{x}{i}", None, None, *BUCKETS[x], "", 0, 1) for i, x in enumerate(letters)]
    return Dataset(
        DataSettings.model_validate({"subsets": [{"path": "unused"}], "augment": {"flip": flip}}),
        records=records,
        placements=placements,
        repeats=repeats or [1] * len(letters),
    )


DATASET = make("aaaaabbbbbbbccc", [1, 2, 3] * 5)


def epoch_of(loader: Loader, epoch: int = 0):
    start = epoch * loader.steps_per_epoch
    return list(islice(loader.steps(start), loader.steps_per_epoch))


def shown(steps) -> Counter:
    return Counter(i.record for step in steps for batch in step.micro_batches for i in batch.items)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
@pytest.mark.parametrize("accumulation", [1, 3, 50])
def test_an_epoch_shows_every_picture_as_often_as_its_repeats(batch_size, accumulation):
    loader = Loader(DATASET, batch_size=batch_size, accumulation=accumulation, seed=1)
    for epoch in (0, 3):
        steps = epoch_of(loader, epoch)
        assert shown(steps) == dict(enumerate([1, 2, 3] * 5))
        assert all(step.epoch == epoch for step in steps)
        sizes = [len(step.micro_batches) for step in steps]
        assert all(size == accumulation for size in sizes[:-1]) and 1 <= sizes[-1] <= accumulation
        pairs = Counter(
            (i.record, i.repeat) for s in steps for b in s.micro_batches for i in b.items
        )
        assert set(pairs.values()) == {1}  # each repeat is told apart


def test_batches_never_mix_buckets():
    loader = Loader(DATASET, batch_size=4, seed=0)
    for step in epoch_of(loader):
        for batch in step.micro_batches:
            assert {DATASET.placements[item.record].bucket for item in batch.items} == {
                batch.bucket
            }


def test_a_position_is_only_a_number():
    whole = list(islice(Loader(DATASET, batch_size=2, accumulation=3, seed=5).steps(), 40))
    for start in (0, 1, 7, 13, 39):
        again = Loader(DATASET, batch_size=2, accumulation=3, seed=5)
        assert list(islice(again.steps(start), 40 - start)) == whole[start:]
    assert [step.index for step in whole] == list(range(40))
    batches = [batch.index for step in whole for batch in step.micro_batches]
    assert batches == list(range(len(batches)))


def test_epochs_and_seeds_differ():
    loader = Loader(DATASET, batch_size=2, seed=0)

    def order(steps):
        return [i.record for s in steps for b in s.micro_batches for i in b.items]

    assert order(epoch_of(loader, 0)) != order(epoch_of(loader, 1))
    assert order(epoch_of(loader)) != order(epoch_of(Loader(DATASET, batch_size=2, seed=1)))


@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_processes_share_buckets_and_differ_in_pictures(num_ranks):
    loaders = [
        Loader(DATASET, batch_size=2, accumulation=2, seed=3, rank=rank, num_ranks=num_ranks)
        for rank in range(num_ranks)
    ]
    epochs = [epoch_of(loader) for loader in loaders]
    assert len({loader.micro_batches_per_epoch for loader in loaders}) == 1
    for steps in zip(*epochs, strict=True):
        for batches in zip(*(step.micro_batches for step in steps), strict=True):
            assert len({(b.index, b.bucket, len(b.items)) for b in batches}) == 1
    total = sum((shown(steps) for steps in epochs), Counter())
    due = Counter(dict(enumerate([1, 2, 3] * 5)))
    named = Counter(i for short in loaders[0].short_batches() for i in short.repeated)
    assert total == due + named  # what is shown too often is named, nothing is left out
    assert sum(named.values()) < num_ranks * len(BUCKETS)


def test_one_picture_on_two_processes_is_shown_by_both_and_named():
    dataset = make("a")
    both = [Loader(dataset, batch_size=4, seed=0, rank=rank, num_ranks=2) for rank in (0, 1)]
    assert [shown(epoch_of(loader)) for loader in both] == [{0: 1}, {0: 1}]
    (short,) = both[0].short_batches()
    assert (short.records, short.repeated) == ((0, 0), (0,))


def test_short_batches_are_named_in_the_ledger():
    loader = Loader(make("aaaaabbcccc"), batch_size=4, seed=0)
    rows = {row.bucket: row for row in ledger(make("aaaaabbcccc"), loader=loader).buckets}
    assert len(rows[BUCKETS["a"]].short) == 1 and rows[BUCKETS["a"]].num_batches == 2
    assert set(rows[BUCKETS["b"]].short) == {"b5", "b6"}
    assert rows[BUCKETS["c"]].short == () and rows[BUCKETS["c"]].num_images == 4
    short = {i.record for s in epoch_of(loader) for b in s.micro_batches for i in b.items
             if len(b.items) < 4}  # fmt: skip
    named = {int(name[1:]) for row in rows.values() for name in row.short}
    assert short == named


def test_only_the_given_pictures_are_shown():
    loader = Loader(DATASET, [0, 3, 14], batch_size=2, seed=0)
    assert shown(epoch_of(loader)) == {0: 1, 3: 1, 14: 3}


def test_flips_come_at_their_rate():
    dataset = make("a" * 2000, flip=0.3)
    items = [
        i for s in epoch_of(Loader(dataset, batch_size=8, seed=0)) for b in s.micro_batches
        for i in b.items
    ]  # fmt: skip
    assert abs(sum(item.flipped for item in items) / 2000 - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5
    assert not any(
        i.flipped
        for s in epoch_of(Loader(make("aaa"), batch_size=1, seed=0))
        for b in s.micro_batches
        for i in b.items
    )
