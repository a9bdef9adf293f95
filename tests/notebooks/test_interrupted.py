"""The proof of the resume: what was killed goes on from its checkpoint, and a difference is seen.

The process that is killed is played by a trainer in this one, which is left after some step; the
lesson itself kills a true one.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_recipes import tiny_recipe, write_photos

from workbench import launch
from workbench.notebook import interrupted
from workbench.notebook.interrupted import killed_and_resumed
from workbench.recipe import Recipe
from workbench.records.events import Progress


@pytest.fixture
def recipe(tiny_sd: Path, tmp_path: Path) -> Recipe:
    found = tiny_recipe(tiny_sd, write_photos(tmp_path / "photos"), tmp_path / "runs")
    return found.override(["output.report=false", "sampling.prompts=[]", "length.steps=6"])


class Process:
    """A trainer that has come to a step: the disk holds what it held then, and nobody its lock."""

    def __init__(self, arguments: Sequence[str], folder: Path, *, last_step: int):
        assert arguments[0] == "train" and arguments[2] == "--folder"
        self.killed, elsewhere = False, folder.parent / "elsewhere" / folder.name
        events = launch.start(Recipe.load(arguments[1]), folder=elsewhere).train()
        for event in events:
            if isinstance(event, Progress) and event.step == last_step:
                break
        # A trainer that is left in order saves where it is; one that is killed cannot.
        shutil.copytree(elsewhere, folder, ignore=shutil.ignore_patterns("lock.json"))
        events.close()

    def poll(self) -> int | None:
        return -9 if self.killed else None

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> None:
        assert self.killed


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[Process]]:
    def prepare(last_step: int) -> list[Process]:
        made: list[Process] = []

        def spawn(arguments: Sequence[str], output: Any, *, folder: Path) -> Process:
            run_folder = Path(arguments[3])
            assert run_folder.parent == folder
            made.append(Process(arguments, run_folder, last_step=last_step))
            return made[-1]

        monkeypatch.setattr(interrupted, "spawn", spawn)
        return made

    return prepare


def test_a_killed_run_ends_as_one_that_nobody_killed(recipe: Recipe, killed_after):
    made = killed_after(3)
    found = killed_and_resumed(recipe)
    assert [process.killed for process in made] == [True]
    file = load_file(Path(recipe.output.folder) / "tiny" / "lora" / "tiny.safetensors")
    assert found == {
        "killed after step": 3,
        "resumed from step": 2,
        "tensors": len(file),
        "equal bit for bit": True,
    }


def test_one_other_bit_is_seen(recipe: Recipe, killed_after, monkeypatch: pytest.MonkeyPatch):
    killed_after(3)
    load = interrupted.store.load_tensors

    def nearly(path: Path) -> dict[str, torch.Tensor]:
        found = load(path)
        if "undisturbed" not in str(path):
            name = sorted(found)[-1]
            flat = found[name].flatten()
            flat[-1] = torch.nextafter(flat[-1].float(), torch.tensor(9e9)).to(flat.dtype)
        return found

    monkeypatch.setattr(interrupted.store, "load_tensors", nearly)
    assert killed_and_resumed(recipe)["equal bit for bit"] is False


def test_a_process_that_ends_too_early_is_named(recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []

    class Dead:
        def poll(self) -> int:
            return 3

        def kill(self) -> None:
            calls.append("kill")

        def wait(self) -> None:
            calls.append("wait")

    monkeypatch.setattr(interrupted, "spawn", lambda *_, **__: Dead())
    with pytest.raises(RuntimeError, match=r"ended before it could be killed \(status 3\)"):
        killed_and_resumed(recipe)
    assert calls == ["kill", "wait"], "nothing is left running"


def test_a_run_that_saves_nothing_is_not_waited_for_without_end(
    recipe: Recipe, killed_after, monkeypatch: pytest.MonkeyPatch
):
    made = killed_after(1)  # its first checkpoint comes after step 2
    monkeypatch.setattr(interrupted, "_LONGEST_S", 0.0)
    with pytest.raises(RuntimeError, match="give it more steps after its first checkpoint"):
        killed_and_resumed(recipe)
    assert made[0].killed
