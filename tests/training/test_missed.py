"""Faults that were planted once and that no test noticed."""

from pathlib import Path

import pytest
import torch
from tiny_recipes import assembled

from workbench.adapters import read
from workbench.diffusion.noise import white
from workbench.models.family import Condition
from workbench.records.sampling import evaluating
from workbench.training.run import Run


def run_of(recipe) -> Run:
    return Run(recipe, Path(recipe.output.folder) / recipe.name)


@pytest.mark.parametrize("live", [True, False], ids=["live text", "cached text"])
def test_the_stable_loss_is_measured_with_each_pictures_own_caption(recipe, live):
    chosen = recipe(f"adapter.text_encoder={str(live).lower()}", "training.posterior=mean")
    trainer = assembled(chosen)
    family, level = trainer.family, torch.tensor([300, 700])

    def loss(record: int, caption: str) -> torch.Tensor:
        """Written down from the definition, past batches and caches."""
        clean = trainer.batches.clean_latents(record).expand(2, -1, -1, -1)
        noise = white(clean, torch.Generator().manual_seed(record))
        noisy, target = family.process.mix(clean, noise, level)
        text = family.collate(family.encode_text([caption] * 2))
        said = Condition(text, (trainer.batches.size(record),) * 2, None)
        return (family.denoise(noisy, level, said) - target).square().mean(dim=(1, 2, 3))

    with torch.no_grad(), evaluating(family), trainer.family.using("text_encoder"):
        for record in (0, 3):
            measured = trainer.stable_losses(record, level, torch.Generator().manual_seed(record))
            own = loss(record, f"zib, photo, disc, number {record}, red, evening")
            assert measured == pytest.approx(own, rel=1e-5)
            assert not torch.allclose(measured, loss(record, ""), rtol=1e-4)


def test_a_terminated_run_measures_draws_and_writes_nothing_more(recipe):
    """All of it is due at the very step after which the run is told to leave."""
    chosen = recipe(
        *("length.steps=50", "validation.every_steps=1", "training.lora_every=1"),
        *("sampling.every_steps=1", "sampling.prompts=[zib]", "sampling.steps=1"),
    )
    run, after = run_of(chosen), []
    for event in run.train():
        if run.asked is not None:
            after.append(event)
        if event.event == "progress" and event.step == 2:
            run.stop("terminated")
    assert [event.event for event in after] == ["saved", "finished"]
    assert (after[0].what, after[1].reason) == ("checkpoint", "terminated")


def test_the_moving_average_of_an_optimizer_that_averages_is_of_what_it_answers_for(recipe):
    """EMA over schedule-free: of its own average, not of the points where it takes gradients."""
    chosen = recipe(
        *("optimizer.kind=schedule_free", "optimizer.learning_rate=0.05", "length.steps=4"),
        *("ema.decay=0.5", "validation.every_steps=2", "output.report=false"),
    )
    run, of_shown, of_trained = run_of(chosen), {}, {}

    def take_in(average: dict[str, torch.Tensor], n: int) -> None:
        decay = min(0.5, (1 + n) / (10 + n)) if n else 0.0  # diffusers' EMAModel
        for name, weight in run.trainer.trainables.items():
            now = weight.detach().double()
            average[name] = decay * average.get(name, now) + (1 - decay) * now

    for event in run.train():
        if event.event == "progress":
            take_in(of_trained, event.step - 1)
            with run.trainer.averaging.shown():
                take_in(of_shown, event.step - 1)
    trainer = run.trainer
    with trainer.showing():
        shown = trainer.adapter.state()
        layers = {name: layer.delta() for name, layer in trainer.adapter.layers().items()}
    assert all(torch.allclose(shown[n].double(), of_shown[n], atol=1e-6) for n in shown)
    assert not all(torch.allclose(shown[n].double(), of_trained[n], atol=1e-4) for n in shown)
    stored = read(run.final_lora).layers
    for name, delta in layers.items():
        assert torch.equal(stored[trainer.family.file_name(*name.split(".", 1))].delta(), delta)
