"""Pictures and recipes for the training tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_recipes import tiny_recipe, write_photos

from workbench.recipe import Recipe

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def recipe(tiny_sd: Path, photos: Path, tmp_path: Path) -> MakeRecipe:
    """A function from overrides to a tiny recipe."""
    return lambda *overrides: tiny_recipe(tiny_sd, photos, tmp_path / "runs", *overrides)
