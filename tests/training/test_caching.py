"""What is cached equals what would be encoded, and what cannot be cached is said."""

import pytest
import torch
from tiny_recipes import assembled

from workbench.settings import SettingsError
from workbench.training.caching import why_live
from workbench.training.trainer import assemble

VARIED = ("data.captions.shuffle=true", "data.captions.tag_dropout=0.4")


def batches(trainer, num_steps=4):
    for step in map(trainer.loader.step, range(num_steps)):
        for micro in step.micro_batches:
            yield trainer.batches.make(micro, step=step.index)


def refuse(captions):
    raise AssertionError(f"{captions} should have been cached")


def test_variants_are_the_draws_of_a_live_run_bit_for_bit(recipe):
    """With as many variants as there are showings, nothing differs, the embeddings included."""
    varied = (*VARIED, "data.captions.caption_dropout=0.3", "data.subsets.0.repeats=2")
    live = assembled(recipe(*varied))
    assert live.batches.texts is None
    ahead = assembled(recipe(*varied, "data.captions.variants=20"))
    encode = ahead.family.encode_text
    ahead.family.encode_text = refuse
    seen = set()
    for one, other in zip(batches(live, 9), batches(ahead, 9), strict=True):
        assert one.captions == other.captions
        seen.update(one.captions)
        with torch.no_grad():
            again = ahead.family.collate(encode(list(other.captions)))
        assert torch.equal(other.text["hidden"], again["hidden"])
        assert torch.equal(other.text["hidden"], one.text["hidden"])
        assert torch.equal(other.latents, one.latents)
    assert "" in seen and len(seen) > 10


def test_few_variants_are_shown_in_turn(recipe):
    trainer = assembled(recipe(*VARIED, "data.captions.variants=2"))
    trainer.family.encode_text = refuse
    texts: dict[int, list[str]] = {}
    for batch in batches(trainer, 6 * trainer.loader.steps_per_epoch):
        for record, caption in zip(batch.records, batch.captions, strict=True):
            texts.setdefault(record, []).append(caption)
    for shown in texts.values():
        assert shown[0::2] == [shown[0]] * 3 and shown[1::2] == [shown[1]] * 3
    assert any(shown[0] != shown[1] for shown in texts.values())
    assert trainer.batches.said.startswith("2 draws of each caption, ")
    assert trainer.batches.said.endswith(" texts, are encoded once")


def test_a_warm_up_is_encoded_live_and_what_follows_is_cached(recipe):
    options = ("data.captions.variants=3", "data.captions.warmup_steps=2")
    trainer = assembled(recipe(*VARIED, *options))
    made = batches(trainer, 6)
    first = next(made)
    with torch.no_grad():
        rows = trainer.family.encode_text(list(first.captions))
        expected = trainer.family.collate(rows)["hidden"]
    assert torch.equal(first.text["hidden"], expected)
    next(made)
    trainer.family.encode_text = refuse
    assert len(list(made)) == 4
    assert trainer.batches.said.endswith("; those of the first 2 steps are encoded live")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "captions do not change: 7 texts are encoded once"),
        (
            ("data.captions.caption_dropout=0.1",),
            "captions do not change: 8 texts are encoded once",
        ),
        (
            VARIED,
            "captions are encoded in each step: they vary (shuffle, tag_dropout); "
            "data.captions.variants draws some ahead",
        ),
        (("data.cache.text=false",), "captions are encoded in each step: data.cache.text is off"),
        (
            ("adapter.text_encoder=true", "data.captions.variants=2"),
            "captions are encoded in each step: the text encoder learns",
        ),
    ],
)
def test_the_start_says_how_captions_become_embeddings(recipe, overrides, said):
    assert assembled(recipe(*overrides)).batches.said == said


def test_a_drawn_world_has_no_captions_to_keep(recipe):
    found = why_live(recipe("data.captions.variants=2"), is_drawn=True, trains_text=False)
    assert found == "every epoch draws new pictures"


def test_a_crop_is_new_in_each_showing_and_its_size_is_told(recipe):
    crop = ("data.augment.crop=random", "data.augment.zoom=2.0", "data.augment.colour=1.0")
    trainer = assembled(recipe(*crop, "data.cache.latents=false", "training.posterior=mean"))
    per_epoch = trainer.loader.steps_per_epoch
    step = trainer.loader.step(0)
    (micro,) = step.micro_batches
    batch = trainer.batches.make(micro, step=0)
    assert torch.equal(batch.latents, trainer.batches.make(micro, step=0).latents)
    for item, size in zip(micro.items, batch.sizes, strict=True):
        look = trainer.batches.look(item, micro.epoch)
        assert look.recoloured and size.crop == look.placement.crop[:2]
        assert size.target == look.placement.bucket
    shown: dict[int, list[torch.Tensor]] = {}
    for batch in batches(trainer, 2 * per_epoch):
        for record, latents in zip(batch.records, batch.latents, strict=True):
            shown.setdefault(record, []).append(latents)
    assert all(not torch.equal(*pair) for pair in shown.values())
    # Validation looks at the picture itself.
    assert torch.equal(trainer.batches.clean_latents(0), trainer.batches.clean_latents(0))


def test_a_cached_latent_is_shown_as_it_was_cached(recipe):
    trainer = assembled(recipe("data.augment.crop=random", "data.augment.zoom=2.0"))
    (micro, *_) = trainer.loader.step(0).micro_batches
    for item in micro.items:
        placement = trainer.batches.look(item, 0).placement
        assert placement == trainer.dataset.placements[item.record]


def test_what_fits_no_layer_is_refused_before_anything_is_cached(recipe, tmp_path):
    wrong = recipe('adapter.blocks=[{match="unet.no_such_block.*", rank=0}]')
    with pytest.raises(SettingsError, match=r"'unet\.no_such_block\.\*' fits no layer that learns"):
        for _ in assemble(wrong, folder=tmp_path, home=tmp_path / "home"):
            pass
    assert not (tmp_path / "home").exists()
