"""The page: its head, which says at any time what goes on, and a row of tabs, one file each."""

import html
from collections.abc import Callable
from typing import Any

import gradio as gr

from workbench.app import buckets, captions, compare, data, noise, runs, start, train
from workbench.app.desk import EMPTY, QUIETLY, TICK_S, Desk, Options
from workbench.app.form import structure
from workbench.app.words import label, text
from workbench.workspace.folders import Workspace

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
    with gr.Blocks(title=text("page_title"), analytics_enabled=False, fill_width=True) as page:
        recipe, structured = gr.State(None), gr.State(())
        run, tick = gr.State(""), gr.Timer(TICK_S)
        with gr.Row(elem_id="head"):
            gr.HTML(f"<h1>{html.escape(text('page_title'))}</h1>", scale=0)
            status = gr.HTML(elem_id="status")
        with gr.Tabs(selected="start", elem_id="tabs") as tabs:
            desk = Desk(workspace, options or Options(), recipe, structured, run, tick, tabs)
            for name, make in TABS.items():
                with gr.Tab(label(f"page_{name}"), id=name, elem_id=f"tab-{name}"):
                    make(desk)
        page.load(lambda: workspace.load_draft() or EMPTY, None, recipe, **QUIETLY)
        page.load(lambda: train.on_show(workspace), None, run, **QUIETLY)
        recipe.change(structure, recipe, structured, **QUIETLY)
        recipe.change(workspace.save_draft, recipe, None, **QUIETLY)
        seen = gr.State("")
        gr.on([page.load, tick.tick], _status(desk), seen, [status, seen], **QUIETLY).then(
            None, None, None, js=_TITLE
        )
    return page


# The browser's own title says how far the run is, also while another page is in front.
_TITLE = (
    "() => { document.title = document.querySelector('.status')?.dataset.title || document.title }"
)


def _status(desk: Desk) -> Callable[[str], tuple[Any, Any]]:
    def look(seen: str) -> tuple[Any, Any]:
        """What goes on now; nothing is sent where nothing changed."""
        options = desk.options
        now = train.status_line(desk.workspace, options.price_per_hour, options.currency)
        return (gr.skip(), gr.skip()) if now == seen else (now, now)

    return look
