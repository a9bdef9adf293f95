"""Forms: what a component holds reaches the recipe, and what is wrong stands below its setting."""

import gradio as gr
import pytest

from workbench.app import form
from workbench.app.desk import Moved
from workbench.app.train_setup import is_basic
from workbench.recipe import Recipe
from workbench.settings import walk

RECIPE = Recipe.preset("critters")
ENTRIES = {entry.path: entry for entry in walk(RECIPE)}


@pytest.mark.parametrize("path", ENTRIES)
def test_what_a_form_shows_gives_the_same_recipe_back(path: str):
    entry = ENTRIES[path]
    shown = form.component(entry)
    if entry.control != "presence":
        assert RECIPE.override([form.from_form(entry, shown.value)]) == RECIPE
    assert entry.help in str(shown.info), "every setting is explained"


@pytest.mark.parametrize(
    ("path", "kind", "typed", "value"),
    [
        ("adapter.rank", gr.Number, 8.0, 8),
        ("adapter.text_encoder", gr.Checkbox, False, False),
        ("optimizer.kind", gr.Dropdown, "lion", "lion"),
        ("sampling.prompts", gr.Textbox, "one, two\n\n three ", ("one, two", "three")),
        ("sampling.seeds", gr.Textbox, "3, 4", (3, 4)),
        ("sampling.every_steps", gr.Number, None, None),
        ("data.subsets.0.trigger", gr.Textbox, "", None),
        ("adapter.blocks", gr.Textbox, "", ()),
    ],
)
def test_an_answer_reaches_the_recipe(path: str, kind: type, typed: object, value: object):
    entry = ENTRIES[path]
    assert isinstance(form.component(entry), kind)
    changed, moved, _ = form._take(entry, tuple(ENTRIES), RECIPE, Moved(RECIPE, edits=3), typed)
    if changed == gr.skip():
        changed = RECIPE
    else:  # its own tab need not wait to be told
        assert moved == Moved(changed, edits=3)
    assert _at(changed, path) == value


def _at(recipe: Recipe, path: str) -> object:
    found: object = recipe
    for name in path.split("."):
        found = found[int(name)] if name.isdecimal() else getattr(found, name)  # type: ignore[index]
    return found


def test_a_mistake_is_said_below_and_changes_nothing():
    recipe, moved, below = form._take(
        ENTRIES["adapter.rank"], ["adapter.rank"], RECIPE, Moved(RECIPE), 0
    )
    assert recipe == gr.skip() and moved == gr.skip()
    assert "adapter.rank must be in [1, 1024], got 0" in below.value and below.visible


def test_a_mistake_that_is_mended_is_said_no_longer():
    rank = ENTRIES["adapter.rank"]
    _, _, below = form._take(rank, [rank.path], RECIPE, Moved(RECIPE), RECIPE.adapter.rank)
    assert below.value == "" and not below.visible


def test_what_a_mistake_quotes_is_text():
    said = form.mistake("got '<img src=x onerror=alert(1)>'")
    assert "<img" not in said and "&lt;img" in said


def test_findings_stand_below_the_setting_they_are_about():
    from workbench import checks

    recipe = RECIPE.override(["adapter.dora=true", "adapter.rank_dropout=0.2"])
    paths = [entry.path for entry in walk(recipe)]
    said = dict(zip(paths, form._by_setting(checks.check(recipe), paths), strict=True))
    assert "Refused" in said["adapter.rank_dropout"] and "stripes" in said["adapter.rank_dropout"]
    assert not said["adapter.rank"]


def test_the_short_form_of_train_has_at_most_eight_fields():
    assert 4 <= sum(map(is_basic, ENTRIES.values())) <= 8


def test_only_a_choice_of_kinds_makes_a_form_anew():
    assert form.structure(RECIPE) == form.structure(RECIPE.override(["adapter.rank=4"]))
    assert form.structure(RECIPE) != form.structure(RECIPE.override(["noise.kind=pyramid"]))
