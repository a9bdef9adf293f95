"""A run that was killed and resumed ends with the same bits as one that was not."""

import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from workbench import store
from workbench.launch import resume
from workbench.recipe import Recipe
from workbench.records import events, log
from workbench.training.run import Run
from workbench.training.saving import world_changes

EVERYTHING = (
    "length.steps=9",
    "training.checkpoint_every=2",
    "training.accumulation=2",
    "adapter.text_encoder=true",
    "adapter.dropout=0.2",
    "data.captions.shuffle=true",
    "data.captions.tag_dropout=0.3",
    "data.captions.caption_dropout=0.1",
    "data.augment.flip=0.5",
    "ema.decay=0.9",
    "schedule.kind=cosine",
    "schedule.warmup=2",
    "output.report=false",
)
OPTIMIZERS = {
    "adamw": (),
    "adamw8bit": ("optimizer.min_8bit_size=16",),
    "prodigy": (),
    "adafactor": (),
    "lion": (),
}


def trained(recipe: Recipe, *, copies: dict[int, Path]) -> tuple[Path, list[events.Event]]:
    """Train to the end; the folder as a kill after some steps would leave it is copied."""
    run = Run(recipe, Path(recipe.output.folder) / recipe.name)
    told = []
    for event in run.train():
        told.append(event)
        if event.event == "progress" and event.step in copies:
            shutil.copytree(run.folder, copies[event.step])
            (copies[event.step] / "lock.json").unlink()
    return run.final_lora, told


def same_tensors(one: Path, other: Path) -> bool:
    a, b = store.load_tensors(one), store.load_tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def curve(told: list[events.Event]) -> list[tuple]:
    steps = [e for e in told if e.event == "progress"]
    return [(e.step, e.loss, e.gradient_norm, e.learning_rates, e.traces) for e in steps]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_resume_is_bitwise(recipe, tmp_path, kind):
    """Killed mid-epoch, at the epoch's edge, right after and long after a checkpoint."""
    chosen = recipe(*EVERYTHING, f"optimizer.kind={kind}", *OPTIMIZERS[kind])
    copies = {step: tmp_path / f"killed-{step}" for step in (3, 4, 8)}
    file, told = trained(chosen, copies=copies)
    for step, folder in copies.items():
        run = resume(folder)
        run.observers = []
        list(run.train())
        assert same_tensors(file, run.final_lora), f"{kind} killed after step {step}"
        assert curve(log.read(folder)) == curve(told)


def test_a_real_kill(recipe, tmp_path):
    """The same with a process of its own and SIGKILL."""
    chosen = recipe(*EVERYTHING)
    file, _ = trained(chosen, copies={})
    folder = tmp_path / "killed"
    store.write_text(tmp_path / "recipe.toml", chosen.to_toml())
    script = (
        "import os, signal, sys, pathlib\n"
        "from workbench.recipe import Recipe\n"
        "from workbench.training.run import Run\n"
        "for event in Run(Recipe.load(sys.argv[1]), pathlib.Path(sys.argv[2])).train():\n"
        "    if event.event == 'progress' and event.step == 5:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # As many threads as here: sums of floats depend on their number.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "recipe.toml"), str(folder)],
        env=os.environ | threads,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL
    run = resume(folder)
    run.observers = []
    list(run.train())
    assert same_tensors(file, run.final_lora)


def test_a_changed_recipe_or_dataset_needs_consent(recipe, tmp_path, photos):
    own = shutil.copytree(photos, tmp_path / "own")
    path = f"data.subsets.0.path={str(own)!r}"
    copies = {3: tmp_path / "killed"}
    trained(recipe(*EVERYTHING, path), copies=copies)
    with pytest.raises(ValueError, match=r"training\.batch_size: 2 -> 3"):
        resume(copies[3], ["training.batch_size=3"])
    (own / "00.txt").write_text("another caption")
    before = log.read(copies[3])
    with pytest.raises(ValueError, match="images or captions differ"):
        list(resume(copies[3]).train())
    assert [e for e in log.read(copies[3]) if e.event == "failed"] == []
    assert len(log.read(copies[3])) >= len(before)
    run = resume(copies[3], accept=True)
    run.observers = []
    assert list(run.train())[-1].event == "finished"


def test_another_base_is_told_with_both_hashes(recipe, tmp_path, tiny_sd):
    own = shutil.copytree(tiny_sd, tmp_path / "base")
    copies = {3: tmp_path / "killed"}
    trained(recipe(*EVERYTHING, f"base.path={str(own)!r}"), copies=copies)
    weights = own / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = store.load_tensors(weights)
    name = next(iter(tensors))
    store.save_tensors(weights, tensors | {name: tensors[name] + 1}, {"format": "pt"})
    run = resume(copies[3])
    run.observers = []
    warned = [e for e in run.train() if e.event == "warned"]
    assert [e.id for e in warned] == ["other-base"]
    assert store.file_hash(weights) in warned[0].message


def rates_after(folder: Path, *overrides: str) -> tuple[list[float], list[events.Event]]:
    """The rate that each step of an accepted resume used, and what the resume told."""
    run = resume(folder, overrides, accept=True)
    run.observers = []
    rates, told = [], []
    for event in run.train():
        told.append(event)
        if event.event in ("resumed", "progress"):
            rates += [group["lr"] for group in run.trainer.optimizer.param_groups]
    return rates[:-1], told


def test_an_accepted_change_of_the_optimizer_holds(recipe, tmp_path):
    copies = {3: tmp_path / "killed"}
    trained(recipe("output.report=false"), copies=copies)
    with pytest.raises(ValueError, match=r"'lion' cannot go on from the state of 'adamw'"):
        rates_after(copies[3], "optimizer.kind=lion")
    assert set(rates_after(copies[3], "optimizer.learning_rate=0.002")[0]) == {0.002}


def test_a_longer_run_joins_its_longer_schedule(recipe, tmp_path):
    copies = {3: tmp_path / "killed"}
    trained(recipe("schedule.kind=cosine", "output.report=false"), copies=copies)
    rates, told = rates_after(copies[3], "length.steps=8")
    expected = [0.005 * (1 + math.cos(math.pi * step / 8)) for step in range(2, 8)]
    assert rates == pytest.approx(expected)
    assert [e.id for e in told if e.event == "warned"] == ["schedule-stretched"]
    assert "ends at step 8 in place of 4" in next(e for e in told if e.event == "warned").message


def test_another_number_of_processes_needs_consent(recipe, tmp_path):
    trainer = SimpleNamespace(
        dataset=SimpleNamespace(fingerprint=lambda: "same"),
        accelerator=SimpleNamespace(num_processes=2),
    )
    assert world_changes(trainer, {"dataset": "same", "num_processes": 2}) == []
    assert world_changes(trainer, {"dataset": "same", "num_processes": 1}) == [
        "processes that train together: 1 -> 2"
    ]
