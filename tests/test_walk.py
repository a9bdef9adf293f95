"""A tree of settings as a form takes it: nothing left out, and every answer reaches the recipe."""

import pytest

from workbench.recipe import Recipe, presets
from workbench.settings import Settings, SettingsError, differences, setting, walk

NUM_BASIC = 8  # of one form, so that a beginner sees what matters


@pytest.mark.parametrize("name", presets())
def test_every_setting_given_back_changes_nothing(name: str):
    recipe = Recipe.preset(name)
    entries = list(walk(recipe))
    for entry in entries:
        if entry.control != "presence":
            assert recipe.override([entry.assignment(entry.value)]) == recipe, entry.path


def _paths(data: object, prefix: str = "") -> set[str]:
    """Independent of `walk`: the paths of a recipe's own dump."""
    if isinstance(data, dict):
        return {p for key, value in data.items() for p in _paths(value, f"{prefix}{key}.")}
    if isinstance(data, list | tuple) and any(isinstance(one, dict) for one in data):
        return {p for k, value in enumerate(data) for p in _paths(value, f"{prefix}{k}.")}
    return {prefix[:-1]}


@pytest.mark.parametrize("name", presets())
def test_walk_leaves_nothing_out(name: str):
    recipe = Recipe.preset(name)
    shown = {entry.path for entry in walk(recipe)}
    # A kind with no other to choose is no choice.
    assert {p for p in _paths(recipe.model_dump()) if not p.endswith(".kind")} <= shown


@pytest.mark.parametrize(
    "choice",
    [
        f"{entry.path}={kind}"
        for entry in walk(Recipe.preset("critters"))
        if entry.path in ("adapter.kind", "optimizer.kind", "weighting.kind", "schedule.kind")
        for kind in entry.choices
        if (entry.path, kind) != ("optimizer.kind", "custom")  # needs a path beside it
    ],
)
def test_the_short_form_stays_short(choice: str):
    recipe = Recipe.preset("critters").override([choice])
    # Data and noise have forms of their own.
    basic = [e.path for e in walk(recipe) if e.basic and not e.path.startswith(("data", "noise"))]
    assert len([path for path in basic if not path.startswith("base.")]) <= NUM_BASIC, basic
    for part in ("data.captions", "data.buckets", "noise"):
        assert sum(e.basic and e.path.startswith(part) for e in walk(recipe)) <= NUM_BASIC


def test_an_entry_tells_its_bounds_unit_and_help():
    entries = {entry.path: entry for entry in walk(Recipe.preset("critters"))}
    rank = entries["adapter.rank"]
    assert (rank.control, rank.lowest, rank.highest, rank.optional) == ("whole", 1, 1024, False)
    assert entries["length.steps"].unit == "steps"
    assert entries["training.precision"].choices == ("float32", "bfloat16", "float16")
    assert entries["sampling.prompts"].control == "words"
    assert all(entry.help for entry in entries.values())


def test_a_group_that_may_be_absent_comes_and_goes():
    recipe = Recipe.preset("critters")
    entry = next(entry for entry in walk(recipe) if entry.path == "ema")
    assert (entry.control, entry.value) == ("presence", False)
    with_ema = recipe.override([entry.assignment(True)])
    assert with_ema.ema is not None
    assert "ema.decay" in {entry.path for entry in walk(with_ema)}
    assert with_ema.override([entry.assignment(False)]) == recipe


def test_an_emptied_field_is_absent_and_one_that_must_be_there_is_refused():
    recipe = Recipe.preset("critters")
    entries = {entry.path: entry for entry in walk(recipe)}
    trigger = entries["data.subsets.0.trigger"]
    assert recipe.override([trigger.assignment("")]).data.subsets[0].trigger is None
    with pytest.raises(SettingsError, match="name"):
        recipe.override([entries["name"].assignment("")])


def test_a_list_of_groups_is_one_line_of_toml():
    recipe = Recipe.preset("critters").override(["adapter.blocks=[]"])
    entry = next(entry for entry in walk(recipe) if entry.path == "adapter.blocks")
    assert (entry.control, entry.value) == ("tables", "[]")
    changed = recipe.override([entry.assignment('[{match = "unet.mid_block.*", rank = 4}]')])
    assert [(b.match, b.rank) for b in changed.adapter.blocks] == [("unet.mid_block.*", 4)]
    again = next(entry for entry in walk(changed) if entry.path == "adapter.blocks")
    assert recipe.override([again.assignment(again.value)]) == changed


def test_words_keep_their_quotes_and_commas():
    recipe = Recipe.preset("critters")
    entry = next(entry for entry in walk(recipe) if entry.path == "sampling.prompts")
    prompts = ['a "quoted" one, with a comma', "second"]
    assert recipe.override([entry.assignment(prompts)]).sampling.prompts == tuple(prompts)


def test_differences_name_both_sides():
    class Inner(Settings):
        size: int = setting(1, help="size")

    class Outer(Settings):
        inner: Inner = setting(Inner(), help="inner")
        many: tuple[Inner, ...] = setting((), help="many")

    one, other = Outer(many=(Inner(),)), Outer(inner=Inner(size=3), many=(Inner(), Inner(size=2)))
    assert differences(one, other) == {"inner.size": (1, 3), "many.1.size": (None, 2)}
    assert differences(one, one) == {}
