"""The first question of the app, on the pictures that come with it."""

import pytest

from workbench import checks, intents
from workbench.app import start
from workbench.data.dataset import index
from workbench.recipe import Recipe


@pytest.mark.parametrize("intent", intents.INTENTS)
def test_what_an_intent_sets_suits_the_pictures_that_show_it(intent: str):
    recipe = start._choose(Recipe.preset("critters"), intent)
    dataset = index(recipe.data)
    assert checks.check(recipe, dataset=dataset) == []
    *called, plain = recipe.sampling.prompts or ()
    assert {"{trigger}" in prompt for prompt in called} == {True} and "{trigger}" not in plain


def test_another_intent_leaves_nothing_of_the_one_before():
    preset = Recipe.preset("critters")
    for intent in intents.INTENTS:
        there_and_back = start._choose(start._choose(preset, "scene"), intent)
        assert there_and_back == start._choose(preset, intent)
