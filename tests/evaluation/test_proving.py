"""The proof of a run that still holds its model: in place, with progress, and left when asked."""

from pathlib import Path

import pytest
import torch
from tiny_recipes import tiny_recipe, write_photos

import workbench as wb
from workbench import store
from workbench.evaluation import parity
from workbench.models import loading
from workbench.recipe import Recipe
from workbench.records import history
from workbench.records.fixed import weights_hash


@pytest.fixture
def recipe(tiny_sd: Path, tmp_path: Path) -> Recipe:
    photos = write_photos(tmp_path / "photos", 3)
    return tiny_recipe(
        tiny_sd, photos, tmp_path / "runs", "output.report=false", "sampling.prompts=[zib]",
        "sampling.steps=2",
    )  # fmt: skip


def test_no_second_base_is_loaded_and_all_is_as_before(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, loaded, seen = loading.load, [], {}
    monkeypatch.setattr(loading, "load", lambda *a, **k: loaded.append(1) or load(*a, **k))
    run = wb.start(recipe)
    told = []
    for event in run.train():
        told.append(event)
        if event.event == "saved" and event.what == "lora":
            seen["file"] = run.final_lora.read_bytes()
            seen["state"] = run.trainer.adapter.state()
        if event.event == "proved":
            now = run.trainer.adapter.state()
            assert all(torch.equal(now[name], t) for name, t in seen["state"].items())
            assert all(p.requires_grad for p in run.trainer.trainables.values())
            for module in run.trainer.adapter.modules.values():
                assert module.peft_config  # the trained adapter is back in its place
            assert event.passed
    assert len(loaded) == 1
    assert run.final_lora.read_bytes() == seen["file"]
    steps = [(e.done, e.total) for e in told if getattr(e, "stage", "") == "proving the file"]
    assert steps == [(k + 1, parity.STAGES) for k in range(parity.STAGES)]
    fresh = load(recipe.base)
    with run.trainer.adapter.lifted():
        assert weights_hash(run.trainer.family.parts) == weights_hash(fresh.parts)


@pytest.mark.parametrize("stage", range(1, parity.STAGES))
def test_a_run_that_must_end_leaves_its_proof_at_the_next_call(recipe: Recipe, stage: int) -> None:
    run = wb.start(recipe)
    told, calls = [], 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for event in run.train():
        told.append(event)
        if getattr(event, "id", "") == "proof-left":
            for module in run.trainer.adapter.modules.values():
                assert module.peft_config, "the trained adapter is back before anybody is told"
        if getattr(event, "stage", "") == "proving the file" and event.done == stage:
            run.stop("terminated")
            run.trainer.family.parts["unet"].register_forward_pre_hook(count)
    assert calls == 0, "not one more call of the model"
    kinds = [e.event for e in told]
    if stage < parity.STAGES - 1:
        assert [e.id for e in told if e.event == "warned"][-1] == "proof-left"
        assert "proved" not in kinds
    assert told[-1].event == "finished" and told[-1].reason == "terminated"
    assert history.state(run.folder) == "stopped"
    whole = store.load_tensors(run.final_lora)
    with run.trainer.adapter.lifted():
        fresh = loading.load(recipe.base)
        assert weights_hash(run.trainer.family.parts) == weights_hash(fresh.parts)
    again = list(wb.resume(run.folder).train())
    (proved,) = [e for e in again if e.event == "proved"]
    assert proved.passed and again[-1].reason == "complete"
    assert all(
        torch.equal(store.load_tensors(run.final_lora)[name], t) for name, t in whole.items()
    )


def test_a_base_that_training_changed_is_told_by_its_hash(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that no fixed input reaches: outputs agree, the hash does not."""
    run = wb.start(recipe)
    for event in run.train():
        if event.event == "started":
            unused = run.trainer.family.parts["text_encoder"].get_parameter(
                "embeddings.token_embedding.weight"
            )
            with torch.no_grad():
                unused[200] += 1
        if event.event == "proved":
            assert not event.passed
            (row,) = [one for one in event.findings if "base untouched" in one]
            assert row.startswith("✗") and "SHA-256" in row
            return
    pytest.fail("no proof")
