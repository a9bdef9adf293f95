"""Showings without their trigger, at which the base's own answer is the target."""

import pytest
import torch
from tiny_recipes import assembled

from workbench.data.loader import Item
from workbench.models import loading as models
from workbench.models.family import Condition
from workbench.training import step as stepping
from workbench.training.batches import Batch
from workbench.training.preserving import drawn_rows, uncalled_texts

CALLED = ("data.subsets.0.trigger=zorb", "data.subsets.0.class_word=creature")


def nth(trainer, index: int):
    return next(iter(trainer.loader.steps(index)))


def first_batch(trainer) -> Batch:
    return trainer.batches.make(nth(trainer, 0).micro_batches[0], step=0)


def test_without_it_every_batch_is_what_it_was(recipe):
    plain, off = (assembled(recipe(*CALLED, *more)) for more in ((), ("training.preservation=0",)))
    assert first_batch(off).captions == first_batch(plain).captions
    assert first_batch(plain).preserved == ()


def test_some_showings_lose_their_trigger_and_the_class_word_stays(recipe):
    trainer = assembled(recipe(*CALLED, "training.preservation=0.5", "training.batch_size=4"))
    seen = {True: 0, False: 0}
    for index in range(12):
        for micro_batch in nth(trainer, index).micro_batches:
            batch = trainer.batches.make(micro_batch, step=index)
            for row, caption in enumerate(batch.captions):
                assert ("zorb" in caption) is (row not in batch.preserved)
                assert "creature" in caption
                seen[row in batch.preserved] += 1
    assert 0.3 < seen[True] / sum(seen.values()) < 0.7


def test_the_share_is_what_was_asked_for(recipe):
    trainer = assembled(recipe(*CALLED, "training.preservation=0.3"))
    items = [Item(0)] * 4
    drawn = [
        drawn_rows(trainer.recipe, trainer.dataset, [Item(0)], epoch=epoch) for epoch in range(2000)
    ]
    share = sum(map(len, drawn)) / len(drawn)
    assert share == pytest.approx(0.3, abs=0.035)  # three standard deviations of 2,000 lots
    assert len(drawn_rows(trainer.recipe, trainer.dataset, items, epoch=0)) in (
        0,
        4,
    )  # one lot a showing


def test_pictures_without_a_trigger_have_none_to_lose(recipe):
    chosen = recipe("training.preservation=0.9", "data.subsets.0.trigger=none")
    dataset = assembled(chosen).dataset
    assert not any(
        drawn_rows(chosen, dataset, [Item(0), Item(1)], epoch=epoch) for epoch in range(20)
    )


def test_the_target_is_what_a_base_that_never_learned_answers(recipe):
    trainer = assembled(recipe(*CALLED, "training.preservation=0.9", "training.batch_size=4"))
    batch = first_batch(trainer)
    assert batch.preserved
    before = stepping.question(trainer, batch)
    stepping.train_step(trainer, nth(trainer, 1))  # the adapter is no longer zero
    moved = [p for p in trainer.trainables.values() if p.abs().sum() > 0]
    assert moved
    asked = stepping.question(trainer, batch)
    base = models.load(trainer.recipe.base, device="cpu")
    text = base.collate(base.encode_text([batch.captions[row] for row in batch.preserved]))
    rows = list(batch.preserved)
    sizes = tuple(batch.sizes[row] for row in rows)
    with torch.no_grad():
        answer = base.denoise(asked.noisy[rows], asked.level[rows], Condition(text, sizes))
    torch.testing.assert_close(asked.target[rows], answer.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(asked.target, before.target)


def test_an_adapter_that_has_learned_nothing_loses_nothing_there(recipe):
    trainer = assembled(recipe(*CALLED, "training.preservation=0.9", "training.batch_size=4"))
    batch = first_batch(trainer)
    losses = stepping.batch_losses(trainer, batch).plain
    for row, loss in enumerate(losses.tolist()):
        assert (loss < 1e-9) is (row in batch.preserved)


def test_losses_by_timestep_leave_those_showings_out(recipe):
    trainer = assembled(recipe(*CALLED, "training.preservation=0.9", "training.batch_size=4"))
    step = nth(trainer, 0)
    learned = sum(
        len(batch.captions) - len(batch.preserved)
        for batch in (trainer.batches.make(one, step=0) for one in step.micro_batches)
    )
    found = stepping.train_step(trainer, step)
    assert sum(one.samples for one in found.timestep_losses) == learned


def test_a_cache_of_text_holds_the_captions_without_their_trigger(recipe):
    chosen = recipe(*CALLED, "training.preservation=0.5", "data.captions.shuffle=false")
    trainer = assembled(chosen)
    texts = trainer.dataset.texts()
    more = uncalled_texts(chosen, trainer.dataset, texts)
    assert more and not any("zorb" in text for text in more)
    assert trainer.batches.texts is not None
    assert all(text in trainer.batches.texts for text in (*texts, *more))


@pytest.mark.parametrize("more", [["adapter.text_encoder=true"], ["adapter.kind=full"]])
def test_it_works_where_the_text_encoder_learns_and_in_a_full_fine_tune(recipe, more):
    trainer = assembled(recipe(*CALLED, "training.preservation=0.9", *more))
    batch = first_batch(trainer)
    assert batch.preserved
    before = stepping.question(trainer, batch).target
    stepping.train_step(trainer, nth(trainer, 1))
    torch.testing.assert_close(stepping.question(trainer, batch).target, before)
