"""Each source of pictures: its trigger, its class word, how often it is shown; or away with it."""

import html
from typing import Any

import gradio as gr

from workbench import settings
from workbench.app.desk import AT_ONCE, Desk, saying
from workbench.app.form import form
from workbench.app.words import label, text
from workbench.recipe import Recipe
from workbench.settings import Entry, SettingsError

FIRST = ("trigger", "class_word", "repeats")


def build(desk: Desk) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
    """
    gr.Markdown(label("data_sources"), elem_classes="part-title")
    gr.Markdown(label("data_sources_lead"), elem_classes="lead")
    listed = gr.HTML()
    with gr.Column(elem_classes="subsets"):
        form(desk, lambda entry: _setting(entry) in FIRST)
    with gr.Accordion(label("data_sources_more"), open=False):
        form(desk, lambda entry: _setting(entry) not in ("", *FIRST))
        with gr.Row(equal_height=True):
            which = gr.Dropdown([], label=label("data_remove_which"), min_width=220)
            away = gr.Button(label("data_remove"), variant="stop", min_width=160, scale=0)
    desk.moved.change(_list, desk.recipe, [listed, which], **AT_ONCE)
    away.click(saying(without), [desk.recipe, which], desk.recipe, api_visibility="private")


def _setting(entry: Entry) -> str:
    """Name of a setting of a source; empty for others."""
    return entry.path.split(".")[3] if entry.path.startswith("data.subsets.") else ""


def _list(recipe: Recipe) -> tuple[str, Any]:
    """The sources by their numbers, as the settings below name them."""
    subsets = recipe.data.subsets
    prior = f' <span class="pill">{html.escape(text("data_prior"))}</span>'
    lines = [f"<li>{html.escape(one.path)}{prior * one.is_prior}</li>" for one in subsets]
    among = [(f"{place + 1}: {one.path}", place) for place, one in enumerate(subsets)]
    return f'<ol class="notes">{"".join(lines)}</ol>', gr.Dropdown(among, value=None)


def without(recipe: Recipe, place: int | None) -> Recipe:
    """Take a source out of a recipe; its files stay.

    Args:
        recipe: the recipe.
        place: of the source.
    Returns:
        The recipe without it.
    Raises:
        SettingsError: none was chosen, or it is the last one.
    """
    subsets = recipe.data.subsets
    if place is None or not 0 <= place < len(subsets):
        raise SettingsError(text("data_remove_none"))
    if len(subsets) == 1:
        raise SettingsError(text("data_remove_last"))
    kept = subsets[:place] + subsets[place + 1 :]
    return settings.replace(recipe, data=settings.replace(recipe.data, subsets=kept))
