"""Runs side by side in the tab Runs: recipes, curves, and samples that all of them have drawn."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from workbench.app import runs
from workbench.recipe import Recipe
from workbench.records.events import Sampled, SampledPicture, Saved, Validated
from workbench.records.log import EventLog
from workbench.workspace.folders import Workspace


def _run(folder: Path, *changes: str, seeds: tuple[int, ...], gap: float) -> None:
    recipe = Recipe.preset("critters").override([f"name={folder.name}", *changes])
    (folder / "samples").mkdir(parents=True)
    (folder / "recipe.toml").write_text(recipe.to_toml())
    with EventLog(folder) as log:
        for step in (0, 10):
            shown = []
            for seed in seeds:
                name = f"samples/{step}-{seed}.png"
                Image.new("RGB", (8, 8), (seed, step, 0)).save(folder / name)
                shown.append(SampledPicture(prompt="a <b>", seed=seed, path=name))
            log.append(Sampled(step=step, pictures=tuple(shown), base=step == 0))
        log.append(Validated(step=10, split="train", loss=1 + gap, base_loss=1.0))
        log.append(Saved(step=10, path="lora/x.safetensors", what="lora", final=True))


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    workspace = Workspace(tmp_path)
    _run(workspace.runs / "one", seeds=(0, 1), gap=-0.25)
    _run(workspace.runs / "two", "length.steps=50", seeds=(1, 2), gap=-0.5)
    _run(workspace.runs / "three", "noise.kind=offset", seeds=(1,), gap=0.125)
    return SimpleNamespace(workspace=workspace)


def test_three_runs_show_what_differs_their_curves_and_shared_samples(desk):
    said, plot, pictures = runs._side_by_side(desk, ["one", "two", "three"])
    rows = re.findall(r"<code>([^<]+)</code></td><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)", said)
    assert ("length.steps", "166", "50", "166") in rows
    assert ("noise.kind", "gaussian", "gaussian", "offset") in rows
    drawn = {trace["name"]: trace["y"] for trace in _figure(plot)["data"] if trace.get("name")}
    assert drawn == {"one": [-25.0], "two": [-50.0], "three": [12.5]}
    assert re.findall(r'alt="([^"]+)"', pictures) == [
        f"{name} · seed 1 · a &lt;b&gt;" for name in ("Base", "one", "two", "three")
    ]
    assert "workbench compare one two three" in pictures


def _figure(plot: Any) -> dict[str, Any]:
    return json.loads(plot.value["plot"])


def test_one_run_alone_shows_nothing_and_none_shared_says_how_to_draw(desk):
    assert runs._side_by_side(desk, ["one"])[0] == ""
    _run(desk.workspace.runs / "four", seeds=(7,), gap=0)
    _, _, pictures = runs._side_by_side(desk, ["one", "four"])
    assert "<img" not in pictures and "workbench compare one four" in pictures


def test_recipes_that_are_the_same_are_said_to_be(desk):
    _run(desk.workspace.runs / "same", seeds=(0,), gap=0)
    said, _, _ = runs._side_by_side(desk, ["one", "same"])
    assert said == "Their recipes are the same."
