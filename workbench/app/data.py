"""The tab Data: which pictures teach, what became of each of them, and the model to start from."""

from typing import Any

import gradio as gr

from workbench.app import data_masks, data_models, data_source, data_subsets
from workbench.app.data_facts import facts
from workbench.app.desk import AT_ONCE, MISTAKES, Desk, pictures, same_as
from workbench.app.form import mistake
from workbench.app.gallery import shelf
from workbench.app.words import label, text
from workbench.recipe import Recipe


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    gr.Markdown(label("data_title"), elem_classes="tab-title")
    gr.Markdown(label("data_lead"), elem_classes="lead")
    data_source.build(desk)
    said = gr.HTML(elem_id="data-facts")
    on_show = shelf(desk, "data")
    with gr.Accordion(label("data_notes"), open=False, visible=False) as fold:
        notes = gr.HTML()
    data_subsets.build(desk)
    data_masks.build(desk, on_show)
    data_models.build(desk)
    same_as(desk, _python, _shell)
    gr.on(
        [desk.moved.change, on_show.changed.change],
        _describe,
        desk.recipe,
        [said, fold, notes],
        **AT_ONCE,
    )


def _describe(recipe: Recipe) -> tuple[str, Any, str]:
    """What the pictures are; or what keeps them from being used, in its own words."""
    try:
        dataset = pictures(recipe)
    except MISTAKES as error:
        return mistake(str(error)), gr.Accordion(visible=False), ""
    if dataset is None:
        title, info = text("data_empty"), text("data_empty_info")
        empty = f'<div class="empty"><b>{title}</b>{info}</div>'
        return empty, gr.Accordion(visible=False), ""
    numbers, more, count = facts(dataset, seed=recipe.training.seed)
    name = text("data_notes_count", count=count)
    return numbers, gr.Accordion(label=name, visible=count > 0), more


def _python(recipe: Recipe) -> str:
    return (
        "from workbench.data.dataset import index\n\n"
        f'dataset = index(wb.Recipe.load("{recipe.name}.toml").data)\n'
        "print(len(dataset), dataset.notes, dataset.set_aside)"
    )


def _shell(recipe: Recipe) -> str:
    import shlex

    path = recipe.data.subsets[0].path if recipe.data.subsets else "FOLDER"
    return f"workbench buckets {shlex.quote(path)}"
