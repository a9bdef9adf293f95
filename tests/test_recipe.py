"""The recipe as one tree: presets, TOML, hashes."""

import pytest

from workbench.recipe import LengthSettings, Recipe, presets
from workbench.settings import SettingsError, from_toml


@pytest.mark.parametrize("name", presets())
def test_presets_read_back_from_their_own_toml(name):
    recipe = Recipe.preset(name)
    assert from_toml(Recipe, recipe.to_toml()) == recipe
    assert from_toml(Recipe, recipe.to_toml(comments=False)).hash() == recipe.hash()


def test_presets_are_those_that_the_documents_name():
    assert set(presets()) >= {"critters", "critters-base", "sd15-lora"}


def test_an_unknown_key_names_the_nearest():
    recipe = Recipe.preset("critters")
    with pytest.raises(SettingsError, match=r"did you mean optimizer\.learning_rate\?"):
        recipe.override(["optimizer.learning_rte=1e-4"])
    with pytest.raises(SettingsError, match=r"preset must be one of .*critters.*, got 'critter'"):
        Recipe.preset("critter")


@pytest.mark.parametrize("value", ["-1", "0", "nan", "fast", "inf"])
def test_a_rate_out_of_bounds_is_a_field_error(value):
    with pytest.raises(SettingsError, match=r"^optimizer\.learning_rate must be"):
        Recipe.preset("critters").override([f"optimizer.learning_rate={value}"])


def test_the_first_limit_ends_the_run():
    assert LengthSettings(steps=100, epochs=3).total_steps(20) == 60
    assert LengthSettings(steps=50, epochs=3).total_steps(20) == 50
    assert LengthSettings(minutes=1).total_steps(20) is None
    with pytest.raises(SettingsError, match="needs an end"):
        LengthSettings()


def test_the_hash_changes_with_any_setting():
    recipe = Recipe.preset("critters")
    assert recipe.override(["training.seed=1"]).hash() != recipe.hash()
    assert recipe.override(["training.seed=0"]).hash() == recipe.hash()
