"""What is shown of a run before it begins is what the run then trains on, number for number."""

import torch
from tiny_recipes import assembled, steps

from workbench.training import step as stepping
from workbench.training.preview import pictures, previews

NUM_STEPS = 5
VARIED = (
    "data.captions.shuffle=true",
    "data.captions.tag_dropout=0.3",
    "data.captions.caption_dropout=0.2",
    "data.captions.warmup_steps=3",
    "data.augment.flip=0.5",
    "data.augment.colour=0.5",
    "data.augment.crop=random",
    "data.augment.zoom=1.5",
    "data.cache.latents=false",
    "training.accumulation=2",
    "weighting.kind=min_snr",
    "noise.kind=offset",
    "adapter.dropout=0.1",
)


def trained(recipe, monkeypatch):
    """What the model is given, and the weights of the losses, while a run trains."""
    trainer, seen, weights = assembled(recipe), [], []
    trainer.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    compare = stepping.batch_losses

    def watched(trainer, batch):
        found = compare(trainer, batch)
        weights.append((found.weighted / found.plain).detach())
        return found

    monkeypatch.setattr(stepping, "batch_losses", watched)
    for _ in zip(range(NUM_STEPS), steps(trainer), strict=False):
        pass
    return seen, weights


def test_batch_k_shown_is_batch_k_trained(recipe, monkeypatch):
    chosen = recipe(*VARIED)
    seen, weights = trained(chosen, monkeypatch)
    before = assembled(chosen)
    shown = list(previews(before, len(seen)))
    assert [p.batch.index for p in shown] == [batch.index for _, _, batch in seen]
    for preview, (noisy, timesteps, batch), weight in zip(shown, seen, weights, strict=True):
        assert torch.equal(preview.batch.latents, batch.latents)
        assert torch.equal(preview.asked.noisy, noisy)
        assert torch.equal(preview.asked.level, timesteps)
        assert preview.batch.captions == batch.captions
        assert preview.batch.sizes == batch.sizes
        assert torch.equal(preview.batch.text["hidden"], batch.text["hidden"])
        torch.testing.assert_close(preview.weights, weight, rtol=1e-5, atol=0)
    assert len({preview.step for preview in shown}) == NUM_STEPS
    assert len({caption for preview in shown for caption in preview.batch.captions}) > 5


def test_cached_batches_are_the_same_ones_too(recipe, monkeypatch):
    chosen = recipe(
        "data.augment.flip=0.5", "data.captions.shuffle=true", "data.captions.variants=2"
    )
    seen, _ = trained(chosen, monkeypatch)
    for preview, (noisy, _, batch) in zip(
        previews(assembled(chosen), len(seen)), seen, strict=True
    ):
        assert torch.equal(preview.batch.latents, batch.latents)
        assert torch.equal(preview.asked.noisy, noisy)
        assert preview.batch.captions == batch.captions


def test_looking_changes_nothing(recipe):
    trainer = assembled(recipe())
    weights = {name: p.detach().clone() for name, p in trainer.trainables.items()}
    first = list(previews(trainer, 3))
    again = list(previews(trainer, 3))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.asked.noisy, other.asked.noisy)
    assert all(torch.equal(weights[name], p) for name, p in trainer.trainables.items())
    assert all(p.grad is None for p in trainer.trainables.values())


def test_pictures_are_what_the_autoencoder_gives_back(recipe):
    trainer = assembled(recipe("training.posterior=mean"))
    (preview,) = previews(trainer, 1)
    found = pictures(trainer, preview)
    width, height = preview.micro_batch.bucket
    assert found.shape == (len(preview.batch.records), 3, height, width)
    with torch.no_grad():
        latents = preview.batch.latents[:1] / trainer.family.vae.config.scaling_factor
        expected = (trainer.family.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(found[:1], expected, rtol=1e-4, atol=1e-5)
