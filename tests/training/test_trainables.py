"""Which weights learn, in which dtype, and what an optimizer says of them during a run."""

from pathlib import Path

import pytest
import torch

from workbench import checks
from workbench.recipe import Recipe
from workbench.records import checkpoint, events
from workbench.settings import SettingsError
from workbench.training import moments
from workbench.training.run import Run

NARROW = "training.trainable_dtype=bfloat16"
PLAIN = ("output.report=false", "sampling.prompts=[]", "optimizer.learning_rate=1e-4")


def finished(recipe: Recipe) -> tuple[Run, list[events.Event]]:
    run = Run(recipe, Path(recipe.output.folder) / recipe.name)
    return run, list(run.train())


def share_moved(run: Run) -> float:
    """Share of the weights that three steps of a full fine-tune changed."""
    trained, start = run.trainer.trainables, run.trainer.adapter._start
    moved = [(p.detach().cpu() != start[name].to(p.dtype)).sum() for name, p in trained.items()]
    return float(sum(moved)) / sum(p.numel() for p in trained.values())


def test_a_full_fine_tune_in_bfloat16_moves_weights_only_where_it_rounds_at_random(recipe) -> None:
    full = (*PLAIN, NARROW, "adapter.kind=full", "length.steps=3", "optimizer.weight_decay=0")
    run, _ = finished(recipe(*full))
    assert {p.dtype for p in run.trainer.trainables.values()} == {torch.bfloat16}
    state = checkpoint.newest_valid(run.folder, read_only=True).bundle.unpack()
    averages = [x for one in state["optimizer"]["state"].values() for x in one.values()]
    assert {x.dtype for x in averages if isinstance(x, torch.Tensor)} == {torch.float32}
    assert {x.dtype for x in state["adapter"].values()} == {torch.bfloat16}
    nearest, _ = finished(recipe(*full, "training.stochastic_rounding=false", "name=nearest"))
    at_random, to_nearest = share_moved(run), share_moved(nearest)
    # Weights near zero are fine enough in bf16 to take the step either way.
    assert at_random > to_nearest + 0.02


def test_a_lora_in_bfloat16_is_saved_sampled_and_proved(recipe) -> None:
    chosen = recipe("output.report=false", NARROW, "sampling.prompts=[zib]", "sampling.steps=1")
    run, told = finished(chosen)
    assert {p.dtype for p in run.trainer.trainables.values()} == {torch.bfloat16}
    assert [e.step for e in told if e.event == "sampled"] == [0, 4]
    assert all(torch.isfinite(torch.tensor(e.loss)) for e in told if e.event == "progress")


def test_float16_gradients_and_bfloat16_weights_are_refused(recipe) -> None:
    with pytest.raises(SettingsError, match="trainable_dtype must be float32 with precision"):
        recipe(NARROW, "training.precision=float16")


def test_a_rate_that_is_never_found_is_told_once(recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "_FOUND_STEPS", 25)
    longer = (*PLAIN, "length.steps=26")
    lost = recipe(*longer, "optimizer.kind=prodigy", "optimizer.learning_rate=1e-4")
    _, told = finished(lost)
    found = [e for e in told if e.event == "warned" and e.id == "rate-not-found"]
    assert [e.step for e in found] == [25]
    assert "still d0 = 1e-06" in found[0].message
    _, told = finished(recipe(*longer, "optimizer.kind=prodigy", "optimizer.learning_rate=1"))
    assert not [e for e in told if e.event == "warned" and e.id == "rate-not-found"]
    steps = [e for e in told if e.event == "progress"]
    assert steps[-1].traces["d"] > 1e-6 and steps[-1].traces["|p-p0|"] > 0


def test_checks_know_every_optimizer(recipe) -> None:
    """No rule stumbles over a kind that lacks the settings of another."""
    from typing import get_args

    from workbench.optim.optimizers import Optimizer

    for member in get_args(get_args(Optimizer)[0]):
        checks.check(recipe(f"optimizer.kind={member.model_fields['kind'].default}"))
