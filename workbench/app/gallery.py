"""A gallery of the recipe's pictures, small ones and a page at a time, to choose one from."""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from workbench.app.desk import LATER, MISTAKES, QUIETLY, Desk, pictures
from workbench.app.words import label, text
from workbench.data.sources import shown
from workbench.recipe import Recipe
from workbench.store import FileRefused
from workbench.workspace.folders import Workspace

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

PAGE = 48  # small pictures sent at once: some 3 to 8 KB each


@dataclass(frozen=True, slots=True)
class Shelf:
    """A gallery and what is chosen in it.

    Attributes:
        gallery: shows one page.
        chosen: index of the chosen picture in the dataset; 0 before one is chosen.
        page: number of the page, from 0.
        changed: a number that rises when the pictures on show were read anew.
    """

    gallery: gr.Gallery
    chosen: gr.State
    page: gr.State
    changed: gr.State


def shelf(desk: Desk, name: str) -> Shelf:
    """Show the pictures of the recipe.

    Args:
        desk: the desk.
        name: begins the ids of its elements.
    Returns:
        The gallery.
    """
    chosen, page, seen, changed = gr.State(0), gr.State(0), gr.State(None), gr.State(0)
    gallery = gr.Gallery(
        columns=6, height="auto", object_fit="cover", show_label=False, allow_preview=False,
        container=False, elem_id=f"{name}-gallery", elem_classes="shelf", buttons=[],
    )  # fmt: skip
    with gr.Row(visible=False, elem_classes="pages") as turning:
        back = gr.Button(label("data_page_back"), size="sm", min_width=80, scale=0)
        where = gr.Markdown(elem_classes="lead")
        on = gr.Button(label("data_page_on"), size="sm", min_width=80, scale=0)
    parts = [gallery, turning, where, page, seen, changed]
    inputs, show = [desk.recipe, page, seen, changed], functools.partial(_show, desk.workspace)
    page.change(show, inputs, parts, **QUIETLY)
    desk.moved.change(show, inputs, parts, js=LATER, **QUIETLY)
    back.click(lambda number: max(0, number - 1), page, page, **QUIETLY)
    on.click(lambda number: number + 1, page, page, **QUIETLY)
    gallery.select(_choose, page, chosen, **QUIETLY)
    return Shelf(gallery, chosen, page, changed)


def _choose(page: int, event: gr.SelectData) -> int:
    return page * PAGE + int(event.index)


def _show(
    workspace: Workspace, recipe: Recipe, page: int, seen: Any, changed: int
) -> tuple[Any, ...]:
    """One page; nothing is sent where the same pictures are on show already."""
    try:
        dataset = pictures(recipe) if recipe else None
    except MISTAKES:  # what is wrong with them stands above the gallery
        dataset = None
    count = len(dataset) if dataset is not None else 0
    last = max(0, (count - 1) // PAGE)
    page = min(page, last)
    # The sequence of records is made anew with every reading, and only then.
    now = (page, count, id(dataset.records) if dataset is not None else 0)
    if now == seen:
        return tuple(gr.skip() for _ in range(6))
    first = page * PAGE
    small = [] if dataset is None else _small(workspace, dataset, range(first, first + PAGE))
    said = text("data_page", first=first + 1, last=first + len(small), count=f"{count:,}")
    return small, gr.Row(visible=last > 0), said, page, now, changed + 1


def _small(workspace: Workspace, dataset: "Dataset", places: range) -> list[tuple[Any, str]]:
    """Small pictures and their names; one that is damaged leaves its place grey and says why."""
    from workbench.workspace.thumbnails import thumbnail

    found: list[tuple[Any, str]] = []
    for record in dataset.records[places.start : places.stop]:
        try:
            small = thumbnail(dataset, record, workspace=workspace)
            found.append((str(small), shown(record.name)))
        except FileRefused as error:
            found.append((Image.new("RGB", (64, 64), "grey"), str(error)))
    return found
