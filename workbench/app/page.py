"""The page: its head, which says at any time what goes on, and a row of tabs, one file each."""

import html
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from workbench.app import buckets, captions, compare, data, noise, runs, start, train
from workbench.app.desk import (
    EMPTY,
    LATER,
    MISTAKES,
    QUIETLY,
    TICK_S,
    Desk,
    Moved,
    Options,
    hooks,
)
from workbench.app.form import structure
from workbench.app.words import label, text
from workbench.recipe import Recipe
from workbench.workspace.folders import Workspace
from workbench.workspace.spawning import ensure_worker

TABS: dict[str, Callable[[Desk], None]] = {
    "start": start.build,
    "data": data.build,
    "captions": captions.build,
    "buckets": buckets.build,
    "noise": noise.build,
    "train": train.build,
    "compare": compare.build,
    "runs": runs.build,
}


def build(workspace: Workspace, options: Options | None = None) -> gr.Blocks:
    """Make the page.

    Args:
        workspace: where everything lies.
        options: of the launch.
    Returns:
        The page, not yet launched.
    """
    import transformers  # noqa: F401  # two handlers that begin it at once see half of it

    options = options or Options()
    with gr.Blocks(title=text("page_title"), analytics_enabled=False, fill_width=True) as page:
        recipe, structured = gr.State(None), gr.State(())
        edits, run, tick = gr.State(0), gr.State(""), gr.Timer(TICK_S)
        opened, seen, desks = gr.State("start"), gr.State(""), {}
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(text('page_title'))}</h1>", scale=0)
            status = gr.HTML(elem_id="status")
        with gr.Tabs(selected="start", elem_id="tabs") as tabs:
            shared = workspace, options, recipe, structured, edits, run, tick, tabs
            for name, make in TABS.items():
                with gr.Tab(label(f"page_{name}"), id=name, elem_id=f"tab-{name}") as tab:
                    desks[name] = Desk(*shared, moved=gr.State(Moved()), beats=[])
                    make(desks[name])
                    _open(tab, name, desks[name], opened)
        page.load(_draft(workspace), None, recipe, **QUIETLY)
        page.load(lambda: train.on_show(workspace), None, run, **QUIETLY)
        _tell(desks, opened)
        look = _status(workspace, options)
        gr.on([page.load, tick.tick], look, seen, [status, seen], **QUIETLY).then(
            None, None, None, js=_TITLE
        )
    _states_first(page)
    for function in page.fns.values():  # `gr.render` takes no list; see `desk.HIDDEN`
        if function.show_progress == "hidden":
            function.show_progress_on = []
    return page


def _open(tab: gr.Tab, name: str, desk: Desk, opened: gr.State) -> None:
    """When a tab is opened, it shows what is true now."""

    def tell(recipe: Recipe | None, edits: int, moved: Moved) -> tuple[Any, ...]:
        now = Moved(recipe, edits, moved.opened + 1) if recipe else gr.skip()
        return name, now, *[now] * len(desk.beats)

    inputs = [desk.recipe, desk.edits, desk.moved]
    tab.select(tell, inputs, [opened, desk.moved, *desk.beats], **QUIETLY)


def _tell(desks: Mapping[str, Desk], opened: gr.State) -> None:
    """Keep every change; tell the tab in front, and all forms when there are other settings."""
    one = next(iter(desks.values()))

    def tell(recipe: Recipe, edits: int, paths: tuple[str, ...], front: str, *seen: Moved) -> Any:
        try:
            one.workspace.save_draft(recipe)
        except MISTAKES as error:  # a full disk, say; the page goes on
            gr.Warning(html.escape(str(error)), duration=None)
        now = structure(recipe)
        told: list[Any] = [gr.skip() if now == paths else now]
        for (name, desk), last in zip(desks.items(), seen, strict=True):
            moved = last._replace(recipe=recipe, edits=edits) if name == front else gr.skip()
            told.append(gr.skip() if moved == last else moved)
            # A form that is made anew shows what is true by itself, and its old listeners are gone.
            told += [moved if now == paths else gr.skip()] * len(desk.beats)
        return told

    moved = [desk.moved for desk in desks.values()]
    states = [state for desk in desks.values() for state in (desk.moved, *desk.beats)]
    inputs = [one.recipe, one.edits, one.structure, opened, *moved]
    changes = [one.recipe.change, one.edits.change]
    gr.on(changes, tell, inputs, [one.structure, *states], js=LATER, **QUIETLY)


def _states_first(page: gr.Blocks) -> None:
    """Let the browser find states at once.

    Gradio 6.31 walks through the page for each of them, dozens of times a change, and most of them
    would lie behind several hundred components.
    """
    for block in list(page.blocks.values()):
        if isinstance(block, gr.State) and block.parent is not None:
            block.parent.children.remove(block)
            page.children.insert(0, block)
            block.parent = page


def _draft(workspace: Workspace) -> Callable[[], Recipe]:
    def take() -> Recipe:
        """What was being made; one that this version cannot read must not lock the page."""
        try:
            return workspace.load_draft() or EMPTY
        except MISTAKES as error:
            gr.Warning(text("page_draft", reason=html.escape(str(error))), duration=None)
            return EMPTY

    return take


# The browser's own title says how far the run is, also while another page is in front.
_TITLE = (
    "() => { document.title = document.querySelector('.status')?.dataset.title || document.title }"
)


def _status(workspace: Workspace, options: Options) -> Callable[[str], tuple[Any, Any]]:
    def look(seen: str) -> tuple[Any, Any]:
        """What goes on now; nothing is sent where nothing changed."""
        ensure_worker(workspace, hooks(options))  # whatever became of the last one
        now = train.status_line(workspace, options)
        return (gr.skip(), gr.skip()) if now == seen else (now, now)

    return look
