"""What follows from a base, in the app: chosen in the panel, typed in a form, taken as a preset."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest
from true_sizes import write_single_file

from workbench.app import data_models, following, form
from workbench.app.desk import Moved
from workbench.recipe import Recipe
from workbench.settings import walk

RECIPE = Recipe.preset("critters")
ENTRIES = {entry.path: entry for entry in walk(RECIPE)}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(gr, "Info", lambda message, *, duration: said.append(message))
    return said


def typed(recipe: Recipe, path: str, value: str) -> Recipe:
    changed, moved, _ = form._take(ENTRIES[path], [path], recipe, Moved(recipe), value)
    assert moved.recipe == changed
    return changed


CHOOSE: dict[str, Callable[[Recipe, str], Recipe]] = {
    "panel": lambda recipe, path: data_models._use(recipe, path),
    "form": lambda recipe, path: typed(recipe, "base.path", path),
}


@pytest.mark.parametrize("how", CHOOSE)
def test_a_base_that_is_chosen_brings_its_settings(
    how: str, tiny_sdxl: Path, told: list[str]
) -> None:
    recipe = CHOOSE[how](RECIPE, str(tiny_sdxl))
    assert recipe.data.buckets.resolution == 64, "the tiny base is made for 64 px"
    assert (recipe.optimizer.learning_rate, recipe.training.accumulation) == (1e-4, 4)
    assert recipe.adapter.kind == "lora" and recipe.adapter.blocks == ()
    (message,) = told
    assert "Settings that follow the new base" in message
    assert "Stable Diffusion XL is made for 64 px" in message
    assert message.count("<code>") == following.NUM_TOLD and "tab Data" in message
    assert CHOOSE[how](recipe, "critters") == RECIPE
    again = recipe.override(["optimizer.learning_rate=5e-5"])
    told.clear()
    larger = CHOOSE[how](again, "another/xl")
    assert (larger.data.buckets.resolution, larger.optimizer.learning_rate) == (1024, 5e-5)
    (message,) = told
    assert message.count("<code>") == 1, "the two bases differ in nothing else"


def test_the_panel_shows_what_the_headers_say_and_what_follows(
    tiny_sdxl: Path, told: list[str]
) -> None:
    recipe = data_models._use(RECIPE, str(tiny_sdxl))
    about = data_models._about(recipe.base, 0.0)
    assert "pictures of 64 px" in about and "epsilon" in about and "Stable Diffusion XL" in about
    shown = following.standing(recipe, 0.0)
    assert "buckets.resolution = 64" in shown and "is made for 64 px" in shown
    own = following.standing(recipe.override(["data.buckets.resolution=128"]), 0.0)
    assert "buckets.resolution" not in own and "guidance = 5.0" in own
    assert following.standing(RECIPE.override(["base.path=some/thing"]), 0.0) == ""


def test_a_base_that_cannot_be_trained_is_named_and_changes_nothing_else(
    tmp_path: Path, told: list[str]
) -> None:
    file = write_single_file("sd2", tmp_path / "unsaid.safetensors")
    recipe = data_models._use(RECIPE, str(file))
    assert recipe == RECIPE.override([f"base.path={file}"]) and told == []
    about = data_models._about(recipe.base, 0.0)
    assert "does not say what its U-Net predicts" in about and "mistake" in about
    entry = next(e for e in walk(recipe) if e.path == "base.prediction")
    chosen, _, _ = form._take(entry, [entry.path], recipe, Moved(recipe), "v_prediction")
    assert chosen.optimizer.learning_rate == 1e-4 and len(told) == 1


def test_a_preset_is_one_for_this_machine(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    assert following.preset("sdxl-lora") == Recipe.preset("sdxl-lora") and told == []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    recipe = following.preset("sdxl-lora")
    assert (recipe.base.dtype, recipe.training.precision) == ("float16", "float16")
    assert "only by emulation" in told[0]


def test_names_and_values_are_no_markup(told: list[str]) -> None:
    recipe = RECIPE.override(['base.path="some/xl-<i>"'])
    following.changed(recipe.override(["base.prediction=epsilon"]), ["base.path=critters"])
    assert "<i>" not in "".join(told)
