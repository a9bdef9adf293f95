"""The page: its head, which says at any time what goes on, and a row of tabs, one file each."""

import copy
import html
import json
import threading
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import gradio as gr

from workbench.app import (
    buckets,
    captions,
    compare,
    data,
    noise,
    noise_picture,
    noise_study,
    runs,
    start,
    train,
)
from workbench.app.desk import (
    AT_ONCE,
    EMPTY,
    LATER,
    MISTAKES,
    QUIETLY,
    TICK_S,
    Desk,
    Moved,
    Options,
    hooks,
    loading,
)
from workbench.app.form import structure
from workbench.app.words import label, text
from workbench.recipe import Recipe
from workbench.workspace.folders import Workspace
from workbench.workspace.overview import overview
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
WARM_AFTER_S = 3.0


class Page(gr.Blocks):
    """A page on which what is skipped costs nothing."""

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """Make what a handler returned into what is sent.

        Gradio 6.31 makes each skipped component anew, with its signature and its JSON schema: 1.5
        ms for each, dozens of times in a poll or an answer.

        Args:
            block_fn: the handler.
            predictions: what it returned: a value for each output, or the value of its only one.
            state: of the session.
        Returns:
            A value for each output.
        """
        outputs = block_fn.outputs
        values = [predictions] if len(outputs) == 1 else predictions
        skipped = gr.skip()
        if not isinstance(values, list | tuple) or len(values) != len(outputs):
            return await super().postprocess_data(block_fn, predictions, state)
        # Compared by type first: a table, say, compares with a dict cell by cell.
        there = [k for k, one in enumerate(values) if type(one) is not dict or one != skipped]
        kept = copy.copy(block_fn)
        kept.outputs = [outputs[k] for k in there]
        given = [values[k] for k in there]
        made = await super().postprocess_data(kept, given[0] if len(given) == 1 else given, state)
        sent = dict(zip(there, made, strict=True))
        return [sent.get(k, None if one.stateful else skipped) for k, one in enumerate(outputs)]


def build(workspace: Workspace, options: Options | None = None) -> gr.Blocks:
    """Make the page.

    Args:
        workspace: where everything lies.
        options: of the launch.
    Returns:
        The page, not yet launched.
    """
    options = options or Options()
    with Page(title=text("page_title"), analytics_enabled=False, fill_width=True) as page:
        recipe, structured = gr.State(None), gr.State(())
        edits, run, opened, seen = gr.State(0), gr.State(""), gr.State("start"), gr.State(("", ""))
        tick, ticks = gr.Timer(TICK_S), {name: gr.Timer(TICK_S, active=False) for name in TABS}
        desks: dict[str, Desk] = {}
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(text('page_title'))}</h1>", scale=0)
            status = gr.HTML(elem_id="status")
        with gr.Tabs(selected="start", elem_id="tabs") as tabs:
            shared = workspace, options, recipe, structured, edits, run, tabs
            for name, make in TABS.items():
                with gr.Tab(label(f"page_{name}"), id=name, elem_id=f"tab-{name}") as tab:
                    desk = Desk(*shared, tick=ticks[name], moved=gr.State(Moved()), beats=[])
                    desks[name] = desk
                    make(desk)
                    _open(tab, name, desk, opened, ticks)
        page.load(None, None, None, js=_away())
        page.load(_draft(workspace), None, recipe, **QUIETLY)
        page.load(lambda: train.on_show(workspace), None, run, **QUIETLY)
        _tell(desks, opened)
        ended = gr.Textbox(visible="hidden")  # in the page, so that the browser tells of its change
        looks = [page.load, tick.tick]
        gr.on(looks, _status(workspace, options), seen, [status, ended, seen], **AT_ONCE).then(
            None, None, None, js=_TITLE
        )
        ended.change(lambda run: train.notice(workspace, run), ended, None, **QUIETLY)
    _states_first(page)
    for function in page.fns.values():  # `gr.render` takes no list; see `desk.HIDDEN`
        if function.show_progress == "hidden":
            function.show_progress_on = []
    return page


def warm() -> None:
    """Load in the background what the first one to open a tab would wait seconds for.

    It begins when the first page has had time to be shown, which it would delay.
    """

    def load() -> None:
        with loading():
            import transformers  # noqa: F401
        noise_study.scene(noise_picture.CRITTERS)

    later = threading.Timer(WARM_AFTER_S, load)
    later.daemon = True
    later.start()


def _open(
    tab: gr.Tab, name: str, desk: Desk, opened: gr.State, ticks: Mapping[str, gr.Timer]
) -> None:
    """When a tab is opened, it shows what is true now, and it alone ticks."""

    def tell(recipe: Recipe | None, edits: int, moved: Moved, before: str) -> tuple[Any, ...]:
        now = Moved(recipe, edits, moved.opened + 1) if recipe else gr.skip()
        changed = {before: gr.Timer(active=False), name: gr.Timer(active=True)}
        ticking = [changed.get(one, gr.skip()) for one in ticks]
        return name, now, *[now] * len(desk.beats), *ticking

    inputs = [desk.recipe, desk.edits, desk.moved, opened]
    outputs = [opened, desk.moved, *desk.beats, *ticks.values()]
    tab.select(tell, inputs, outputs, **QUIETLY)


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


def _away() -> str:
    """A script that says when the server is gone or another one, and leads back."""
    script = resources.files("workbench.app").joinpath("away.js").read_text(encoding="utf-8")
    words = {
        "gone": text("page_gone"),
        "login": text("page_login_again"),
        "to_login": text("page_to_login"),
        "anew": text("page_anew"),
        "reload": text("page_reload"),
        "typed": text("page_typed"),
        "done": text("page_done"),
    }
    return script[script.index("() =>") :].replace("= [words];", f"= {json.dumps(words)};", 1)


# The browser's own title says how far the run is, also while another page is in front.
_TITLE = (
    "() => { document.title = document.querySelector('.status')?.dataset.title || document.title }"
)


def _status(
    workspace: Workspace, options: Options
) -> Callable[[tuple[str, str]], tuple[Any, Any, Any]]:
    def look(seen: tuple[str, str]) -> tuple[Any, Any, Any]:
        """What goes on now, and the run that ended since; `seen` holds the line and the run."""
        ensure_worker(workspace, hooks(options))  # whatever became of the last one
        standings = overview(workspace)
        working = train.at_work(standings)
        now = train.status_line(standings, options), working.name if working else ""
        ended = seen[1] if seen[1] != now[1] else gr.skip()
        return (gr.skip(), ended, gr.skip()) if now == seen else (now[0], ended, now)

    return look
