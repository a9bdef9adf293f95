"""Two processes on a CPU see different batches and noise, and end with equal weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import workbench
from workbench import store
from workbench.recipe import Recipe
from workbench.records import log

SCRIPT = """
import sys, pathlib
from workbench.recipe import Recipe
from workbench.training import step
from workbench.training.run import Run
run = Run(Recipe.load(sys.argv[1]), pathlib.Path(sys.argv[2]))
told, bare = [], step.question
def spy(trainer, batch):
    asked = bare(trainer, batch)
    told.append(float(asked.target.double().sum()))  # of epsilon the noise itself
    return asked
step.question = spy
kinds = [event.event for event in run.train()]
trainer = run.trainer
total = sum(float(p.double().sum()) for p in trainer.trainables.values())
seen = [[i.record for m in trainer.loader.step(k).micro_batches for i in m.items] for k in range(4)]
out = pathlib.Path(sys.argv[2] + f"-{trainer.rank}.json")
import json
out.write_text(json.dumps({"total": total, "seen": seen, "noise": told, "events": len(kinds)}))
"""


def in_two_processes(script: str, recipe: Recipe, tmp_path: Path) -> Path:
    """Run a script, told of a recipe and a run folder, on two CPU processes; gives the folder."""
    store.write_text(tmp_path / "recipe.toml", recipe.to_toml())
    store.write_text(tmp_path / "script.py", script)
    folder = tmp_path / "run"
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
         str(tmp_path / "script.py"), str(tmp_path / "recipe.toml"), str(folder)],
        env=os.environ
        | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        | {"PYTHONPATH": str(Path(workbench.__file__).parents[1])},
        check=True,
        timeout=240,
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_two_processes(recipe, tmp_path):
    # One bucket: a picture alone in its bucket would be shown to both processes.
    chosen = recipe("adapter.text_encoder=true", "data.buckets.enabled=false")
    folder = in_two_processes(SCRIPT, chosen, tmp_path)
    first, second = (store.read_json(Path(f"{folder}-{rank}.json")) for rank in (0, 1))
    assert first["total"] == second["total"]
    assert first["noise"] != second["noise"]
    assert len(first["noise"]) == len(second["noise"])
    assert all(set(a) != set(b) for a, b in zip(first["seen"], second["seen"], strict=True))
    assert second["events"] == 0
    assert first["events"] == len(log.read(folder))


HURRIED = """
import sys, pathlib
import workbench as wb
from workbench.recipe import Recipe
run = wb.start(Recipe.load(sys.argv[1]), folder=pathlib.Path(sys.argv[2]))
for event in run.train():
    if event.event == "preparing" and event.stage == "proving the file":
        run.stop("terminated")
"""


@pytest.mark.slow
def test_two_processes_leave_the_proof_together(recipe, tmp_path):
    """Only the first proves, and only it is told to end; the other must not wait for pictures."""
    chosen = recipe("sampling.prompts=[zib]", "sampling.steps=2", "output.report=false")
    folder = in_two_processes(HURRIED, chosen, tmp_path)
    told = log.read(folder)
    assert told[-1].event == "finished" and told[-1].reason == "terminated"
    assert [e.id for e in told if e.event == "warned"][-1] == "proof-left"
    assert (folder / "lora" / "tiny.safetensors").exists()
