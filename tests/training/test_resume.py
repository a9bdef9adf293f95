"""A run that was killed and resumed ends with the same bits as one that was not."""

import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from workbench import store
from workbench.evaluation import parity
from workbench.launch import resume
from workbench.optim import Optimizer
from workbench.recipe import Recipe
from workbench.records import checkpoint, events, log
from workbench.settings.fields import tag
from workbench.training.run import Run
from workbench.training.saving import changes, world_changes

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
SMALL = "optimizer.min_8bit_size=16"
CONSTANT = ("schedule.kind=constant", "schedule.warmup=2")
CUSTOM = ("optimizer.path=torch.optim.NAdam", "optimizer.options.momentum_decay=0.01")
OPTIMIZERS = {
    "adamw": (),
    "adamw8bit": (SMALL,),
    "paged_adamw8bit": (SMALL,),
    "prodigy": (),
    "dadaptation": ("optimizer.d0=1e-4",),
    "adafactor": (),
    "came": (),
    "lion": (),
    "lion8bit": (SMALL,),
    "muon": (),
    "schedule_free": CONSTANT,
    "custom": CUSTOM,
}
EVERYWHERE = ("adamw", "schedule_free")  # killed at more places


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


def test_every_optimizer_is_resumed_here():
    assert set(OPTIMIZERS) == {tag(member) for member in get_args(get_args(Optimizer)[0])}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_resume_is_bitwise(recipe, tmp_path, kind):
    """Killed mid-epoch, at the epoch's edge, right after and long after a checkpoint."""
    chosen = recipe(*EVERYTHING, f"optimizer.kind={kind}", *OPTIMIZERS[kind])
    killed = (3, 4, 8) if kind in EVERYWHERE else (5,)
    goes_on_bitwise(chosen, tmp_path, killed)


@pytest.mark.parametrize("kind", ["adamw", "schedule_free", "prodigy"])
def test_resume_is_bitwise_in_bfloat16(recipe, tmp_path, kind):
    """Weights rounded at random, the optimizer's averages in fp32."""
    narrow = ("training.trainable_dtype=bfloat16", *CONSTANT)
    chosen = recipe(*EVERYTHING, f"optimizer.kind={kind}", *OPTIMIZERS[kind], *narrow)
    goes_on_bitwise(chosen, tmp_path, (5,))


def goes_on_bitwise(chosen: Recipe, tmp_path: Path, killed: tuple[int, ...]) -> None:
    copies = {step: tmp_path / f"killed-{step}" for step in killed}
    file, told = trained(chosen, copies=copies)
    for step, folder in copies.items():
        run = resume(folder)
        run.observers = []
        list(run.train())
        assert same_tensors(file, run.final_lora), f"killed after step {step}"
        assert curve(log.read(folder)) == curve(told)


def test_schedule_free_is_saved_as_its_average_however_often_it_is_looked_at(recipe, tmp_path):
    """Sampling and saving switch weights; the run, its file and its resume do not notice."""
    base = ("optimizer.kind=schedule_free", "optimizer.learning_rate=0.05", "length.steps=6")
    quiet = recipe(*base, "output.report=false", "name=quiet")
    looked = recipe(
        *base,
        "output.report=false",
        "name=looked",
        "sampling.prompts=[zib]",
        "sampling.every_steps=2",
        "sampling.steps=2",
        "validation.every_steps=1",
        "training.lora_every=2",
    )
    copies = {5: tmp_path / "killed"}
    file, _ = trained(quiet, copies={})
    other, _ = trained(looked, copies=copies)
    assert same_tensors(file, other)
    run = resume(copies[5])
    run.observers = []
    list(run.train())
    assert same_tensors(file, run.final_lora)
    proof = parity.verify(run.folder)
    assert proof.passed, proof.findings
    trainer = run.trainer
    with trainer.showing():
        shown = trainer.adapter.state()
    saved = checkpoint.newest_valid(run.folder, read_only=True).bundle.unpack()
    trained_weights = trainer.adapter.state()
    for name, average in shown.items():
        assert torch.equal(saved["shown"][name], average)
        assert torch.equal(saved["adapter"][name], trained_weights[name])
    assert any(not torch.equal(shown[name], trained_weights[name]) for name in shown)


def test_schedule_free_takes_no_schedule_but_a_constant_one(recipe):
    chosen = recipe("optimizer.kind=schedule_free", "schedule.kind=cosine")
    with pytest.raises(ValueError, match=r"schedule\.kind must be 'constant'.*got 'cosine'"):
        trained(chosen, copies={})


def test_another_custom_optimizer_cannot_go_on(recipe, tmp_path):
    copies = {3: tmp_path / "killed"}
    trained(recipe("optimizer.kind=custom", "output.report=false"), copies=copies)
    with pytest.raises(ValueError, match=r"'torch.optim.Adam' cannot go on .*'torch.optim.NAdam'"):
        rates_after(copies[3], "optimizer.path=torch.optim.Adam")


ADAPTERS = {
    "dora": ("adapter.dora=true", "adapter.module_dropout=0.3", "adapter.b_rate_factor=4"),
    "loha": ("adapter.kind=loha", "adapter.rank_dropout=0.2", "adapter.max_norm=0.05"),
    "lokr": ("adapter.kind=lokr", "adapter.factor=4", "adapter.module_dropout=0.2"),
    "pissa": ("adapter.init=pissa", "adapter.rank_dropout=0.2"),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_resume_is_bitwise_for_every_adapter(recipe, tmp_path, name):
    options = [x for x in EVERYTHING if not x.startswith("adapter.dropout")]
    chosen = recipe(*options, "adapter.groups=attention,conv", *ADAPTERS[name])
    folder = tmp_path / "killed"
    file, told = trained(chosen, copies={5: folder})
    run = resume(folder)
    run.observers = []
    list(run.train())
    assert same_tensors(file, run.final_lora)
    assert curve(log.read(folder)) == curve(told)
    if name == "loha":
        assert all(e.traces["scaled layers"] >= 0 for e in told if e.event == "progress")
    if name == "dora":
        rates = next(e.learning_rates for e in told if e.event == "progress")
        assert rates["unet x4"] == pytest.approx(4 * rates["unet"])


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


def test_another_layout_of_the_result_needs_no_consent(recipe):
    old = recipe("adapter.kind=full")
    assert changes(old, old.override(["adapter.layout=single_file"])) == []
    assert changes(old, old.override(["adapter.text_encoder=true"])) == [
        "adapter.text_encoder: False -> True"
    ]


def test_another_number_of_processes_needs_consent(recipe, tmp_path):
    trainer = SimpleNamespace(
        dataset=SimpleNamespace(fingerprint=lambda: "same"),
        accelerator=SimpleNamespace(num_processes=2),
    )
    assert world_changes(trainer, {"dataset": "same", "num_processes": 2}) == []
    assert world_changes(trainer, {"dataset": "same", "num_processes": 1}) == [
        "processes that train together: 1 -> 2"
    ]
