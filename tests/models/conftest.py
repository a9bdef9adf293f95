"""Tiny bases of all families, and recipes for them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import toy_family
from tiny_families import CASES, Case
from tiny_recipes import tiny_recipe, write_photos

from workbench.models import registry
from workbench.recipe import Recipe


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the toy into the registry."""
    monkeypatch.setitem(registry.FAMILIES, "toy", toy_family.Module)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny base, built when it is first asked for."""
    folder = tmp_path_factory.mktemp("families")
    return lambda name: (
        folder / name if (folder / name).exists() else CASES[name].build(folder / name)
    )


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 5)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def base(request: pytest.FixtureRequest, bases: Callable[[str], Path]) -> Path:
    return bases(request.getfixturevalue("request").node.callspec.params["case"])


@pytest.fixture
def recipe(
    toy: None, case: Case, base: Path, photos: Path, tmp_path: Path
) -> Callable[..., Recipe]:
    """A function from overrides to a tiny recipe for the family."""
    quiet = ("sampling.steps=2", "output.report=false", "sampling.prompts=[zib, red]")
    return lambda *overrides: tiny_recipe(
        base, photos, tmp_path / "runs", *case.settings, *quiet, *overrides
    )
