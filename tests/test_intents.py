"""What a LoRA is to be sets captions, mirroring, rank, length and prompts, each with its reason."""

import tomllib

import pytest

from workbench import checks, intents
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.settings.advice import Advice, follow, kept


def chosen(intent: str, preset: str) -> tuple[Recipe, tuple[Advice, ...]]:
    recipe = Recipe.preset(preset).override(["data.subsets.0.trigger=zib"])
    advice = intents.advise(intent, recipe)
    return follow(advice, recipe), advice


@pytest.mark.parametrize("preset", ["critters", "sd15-lora"])
@pytest.mark.parametrize("intent", intents.INTENTS)
def test_the_advice_is_followed_and_raises_no_finding(
    intent: str, preset: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: preset != "critters")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: True)
    recipe, advice = chosen(intent, preset)
    assert {one.setting for one in advice} >= {
        "data.captions.tag_dropout",
        "data.augment.flip",
        "adapter.rank",
        "length.steps",
        "sampling.prompts",
    }
    assert kept(advice, recipe) == advice
    assert all(one.reason for one in advice)
    assert checks.check(recipe) == []


def test_a_character_is_neither_dropped_nor_mirrored_and_a_style_is_both():
    character, _ = chosen("character", "sd15-lora")
    style, _ = chosen("style", "sd15-lora")
    assert (character.data.captions.tag_dropout, character.data.augment.flip) == (0, 0)
    assert 0.2 <= style.data.captions.tag_dropout <= 0.5
    assert style.data.augment.flip == 0.5


def test_one_prompt_shows_what_leaks():
    for intent in intents.INTENTS:
        recipe, _ = chosen(intent, "sd15-lora")
        *called, plain = recipe.sampling.prompts or ()
        assert all("{trigger}" in prompt for prompt in called)
        assert "{trigger}" not in plain


def test_the_users_own_value_loses_the_reason():
    recipe, advice = chosen("style", "sd15-lora")
    own = recipe.override(["adapter.rank=4"])
    assert {one.setting for one in advice} - {one.setting for one in kept(advice, own)} == {
        "adapter.rank"
    }


def test_reasons_are_comments_and_the_recipe_reads_back(tmp_path):
    recipe, advice = chosen("style", "critters")
    text = recipe.to_toml(notes={one.setting: one.reason for one in advice})
    for one in advice:
        key = one.setting.rpartition(".")[2]
        lines = text.splitlines()
        (place,) = [k for k, line in enumerate(lines) if line.startswith(f"{key} =")][:1]
        above = " ".join(line.removeprefix("# ") for line in lines[:place] if line[:2] == "# ")
        assert one.reason in above
    assert Recipe.model_validate(tomllib.loads(text)) == recipe
    assert all(len(line) <= 100 for line in text.splitlines() if line.startswith("#"))


def test_an_unknown_intent_names_those_there_are():
    with pytest.raises(SettingsError, match="--for must be one of character, style, object, scene"):
        intents.advise("portrait", Recipe.preset("critters"))
