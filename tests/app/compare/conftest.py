"""A workspace with one run to compare, and pictures that are drawn without a model."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from workbench.app import (
    compare_model,
)
from workbench.recipe import Recipe
from workbench.workspace.folders import Workspace


@pytest.fixture
def desk(tmp_path) -> Any:
    """A workspace with one run of eight files; the last one has the recipe's name."""
    workspace = Workspace(tmp_path)
    folder = workspace.runs / "one"
    (folder / "lora").mkdir(parents=True)
    recipe = Recipe.preset("critters").override(["name=one"])
    (folder / "recipe.toml").write_text(recipe.to_toml())
    names = [f"one-step{number:06}" for number in range(1, 8)] + ["one"]
    for age, name in enumerate(names):
        path = folder / "lora" / f"{name}.safetensors"
        path.write_bytes(name.encode())
        stamp = 1_000_000_000 * (1_700_000_000 + age)
        os.utime(path, ns=(stamp, stamp))
    return SimpleNamespace(workspace=workspace)


@pytest.fixture
def drawn(monkeypatch) -> list[Any]:
    """Every batch that is drawn, as (file, jobs); a picture's red tells its strength."""
    batches: list[Any] = []

    def draw(workspace, brush, batch):
        batches.append((brush.file.stem, list(batch)))
        blue = int(brush.sampling.guidance)
        return {job: Image.new("RGB", (8, 8), (int(100 * job[2]), 0, blue)) for job in batch}

    monkeypatch.setattr(compare_model, "_draw", draw)
    monkeypatch.setattr(compare_model, "_pictures", type(compare_model._pictures)())
    return batches
