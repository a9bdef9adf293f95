"""The step against a bare loop of torch and diffusers, and what it does with numbers gone bad."""

import copy
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from tiny_recipes import assembled, steps, tiny_recipe

from workbench import seeds
from workbench.recipe import Recipe
from workbench.training import moments
from workbench.training import step as stepping
from workbench.training.trainer import Trainer

# Above the rounding of gradients. With 1e-8, AdamW divides rounding by rounding where a gradient is
# almost zero, and single weights come out 2e-5 apart after four steps of 0.01.
EPS = 1e-3


def bare_losses(trainer: Trainer, params: list[torch.Tensor], count: int) -> list[float]:
    """The same training written out with torch and diffusers alone."""
    scheduler = DDPMScheduler.from_config(trainer.family.loaded.scheduler_config)
    optimizer = torch.optim.AdamW(params, lr=0.01, betas=(0.9, 0.999), eps=EPS, weight_decay=0.01)
    unet, seed, losses = trainer.family.unet, trainer.recipe.training.seed, []
    for index in range(count):
        step, found = trainer.loader.step(index), []
        total = sum(len(micro.items) for micro in step.micro_batches)
        for micro in step.micro_batches:
            batch = trainer.batches.make(micro, step=index)
            shape, number = batch.latents.shape, len(micro.items)
            noise = torch.randn(shape, generator=seeds.generator(seed, "noise", micro.index))
            draws = seeds.generator(seed, "timesteps", micro.index)
            timesteps = (torch.rand(number, generator=draws) * 1000).long()
            noisy = scheduler.add_noise(batch.latents, noise, timesteps)
            predicted = unet(noisy, timesteps, batch.text["hidden"]).sample
            loss = (predicted - noise).square().mean(dim=(1, 2, 3)).sum() / total
            loss.backward()
            found.append(loss.item())
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(sum(found))
    return losses


def test_steps_equal_a_bare_loop(recipe):
    """Loss, accumulation over short groups, clipping and AdamW, against torch and diffusers."""
    chosen = recipe(
        "training.accumulation=3", "optimizer.weight_decay=0.01", f"optimizer.eps={EPS}"
    )
    trainer = assembled(chosen)
    assert trainer.loader.steps_per_epoch >= 2  # a short last group is among the steps
    params = list(trainer.trainables.values())
    start = copy.deepcopy([p.detach() for p in params])
    expected = bare_losses(trainer, params, 4)
    after = [p.detach().clone() for p in params]
    for param, first in zip(params, start, strict=True):
        param.data.copy_(first)
    losses = [result.loss for _, result in zip(range(4), steps_of(trainer), strict=False)]
    assert losses == pytest.approx(expected, rel=1e-5)
    for param, other in zip(params, after, strict=True):
        torch.testing.assert_close(param.detach(), other, rtol=1e-6, atol=1e-6)


def steps_of(trainer: Trainer):
    for _, result in steps(trainer):
        yield result


def test_a_step_that_is_not_finite_changes_nothing_and_names_the_picture(recipe, monkeypatch):
    trainer = assembled(recipe())
    taken = steps_of(trainer)
    next(taken)
    before = {name: p.detach().clone() for name, p in trainer.trainables.items()}
    make = trainer.batches.make

    def broken(micro_batch, *, step):
        batch = make(micro_batch, step=step)
        batch.latents[0] = float("nan")
        return batch

    monkeypatch.setattr(trainer.batches, "make", broken)
    first = trainer.loader.step(1).micro_batches[0].items[0].record
    with pytest.raises(stepping.NotFinite, match=trainer.dataset.records[first].name):
        next(taken)
    assert all(torch.equal(before[name], p) for name, p in trainer.trainables.items())
    assert all(p.grad is None for p in trainer.trainables.values())


def test_gradients_of_nothing_are_told_once():
    optimizer = SimpleNamespace(param_groups=[{"lr": 1e-4}])
    trainer = SimpleNamespace(optimizer=optimizer, num_overflows=0, total_steps=100)
    recipe = Recipe.preset("critters")
    run = SimpleNamespace(trainer=trainer, num_still=0, step=3, recipe=recipe)
    dead = stepping.StepResult(
        loss=1.0, gradient_norm=0.0, overflowed=False, num_samples=2, rates={}
    )
    warned = [event for _ in range(50) for event in moments.watch(run, dead)]
    assert [event.id for event in warned] == ["not-training"]
    assert "every gradient was zero for 20 steps" in warned[0].message


def test_v_prediction_trains_towards_velocity(tiny_sd2, photos, tmp_path):
    trainer = assembled(tiny_recipe(tiny_sd2, photos, tmp_path))
    step = trainer.loader.step(0)
    batch = trainer.batches.make(step.micro_batches[0], step=0)
    scheduler = DDPMScheduler.from_config(trainer.family.loaded.scheduler_config)
    assert scheduler.config.prediction_type == "v_prediction"
    noise = torch.randn(batch.latents.shape, generator=seeds.generator(0, "noise", batch.index))
    draws = seeds.generator(0, "timesteps", batch.index)
    timesteps = (torch.rand(len(batch.records), generator=draws) * 1000).long()
    noisy = scheduler.add_noise(batch.latents, noise, timesteps)
    target = scheduler.get_velocity(batch.latents, noise, timesteps)
    with torch.no_grad():
        predicted = trainer.family.unet(noisy, timesteps, batch.text["hidden"]).sample
        losses = stepping.batch_losses(trainer, batch)
    expected = (predicted - target).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses.weighted, expected, rtol=1e-5, atol=1e-6)
