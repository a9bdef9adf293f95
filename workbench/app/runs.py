"""The tab Runs: what has become of each, going on with one, and how two of them differ."""

import html
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.context import Context

from workbench.app.desk import AT_ONCE, QUIETLY, Desk, hooks, saved_as, saying
from workbench.app.words import label, text
from workbench.evaluation.page import duration
from workbench.plots.curves import several
from workbench.recipe import Recipe
from workbench.records.events import Validated
from workbench.settings import SettingsError, differences
from workbench.workspace.overview import Standing, overview
from workbench.workspace.queue import resume
from workbench.workspace.removing import remove
from workbench.workspace.spawning import ensure_worker
from workbench.workspace.views import view

COLUMNS = ("state", "run", "began", "steps", "time", "gap", "verdict")


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    tab: Any = Context.block
    gr.Markdown(label("runs_title"), elem_classes="tab-title")
    empty = gr.HTML(
        f'<div class="empty"><b>{text("runs_empty")}</b>{text("runs_empty_info")}</div>'
    )
    table = gr.Dataframe(
        headers=[text(f"runs_{name}") for name in COLUMNS],
        interactive=False,
        wrap=True,
        show_label=False,
        elem_id="runs-table",
        visible=False,
    )
    chosen = gr.Markdown(label("runs_choose"), elem_classes="lead")
    with gr.Row(elem_id="run-actions"):
        show = gr.Button(label("runs_show"), variant="primary", size="sm", min_width=120)
        more = gr.Number(0, label=label("runs_more"), minimum=0, precision=0, min_width=120)
        again = gr.Button(label("runs_resume"), size="sm", min_width=120)
        take = gr.Button(label("runs_take"), size="sm", min_width=120)
        keep = gr.Button(label("runs_toml"), size="sm", min_width=120)
    words = gr.Textbox(visible=False)
    with gr.Accordion(label("runs_delete"), open=False):
        gr.Markdown(label("runs_delete_info"), elem_classes="lead")
        with gr.Row():
            sure = gr.Textbox(label=label("runs_sure"), min_width=160)
            delete = gr.Button(label("runs_delete_press"), variant="stop", size="sm", min_width=120)
    _differences(desk)

    seen = gr.State(())
    look = _looking(desk)
    shows = [desk.tick.tick, tab.select, desk.run.change]
    gr.on(shows, look, seen, [table, empty, seen], **AT_ONCE)
    table.select(_choose, table, [desk.run, chosen], **QUIETLY)
    desk.run.change(_named, desk.run, chosen, **QUIETLY)
    show.click(lambda: gr.Tabs(selected="train"), None, desk.tabs, **QUIETLY)
    again.click(
        saying(_resuming(desk)),
        [desk.run, more],
        [desk.tabs],
        api_visibility="private",
        concurrency_limit=1,
    )
    take.click(
        saying(lambda run: (_recipe(desk, run), gr.Tabs(selected="train"))),
        desk.run,
        [desk.recipe, desk.tabs],
        api_visibility="private",
    )
    keep.click(
        saying(lambda run: _recipe(desk, run).to_toml()), desk.run, words, api_visibility="private"
    ).then(None, words, None, js=saved_as("recipe.toml", "application/toml"))
    delete.click(
        saying(_deleting(desk)), [desk.run, sure], [desk.run, sure], api_visibility="private"
    ).then(look, seen, [table, empty, seen], **QUIETLY)


def _looking(desk: Desk) -> Callable[[Any], tuple[Any, Any, Any]]:
    def look(seen: Any) -> tuple[Any, Any, Any]:
        rows = [_row(one) for one in overview(desk.workspace)]
        key = tuple(map(tuple, rows))
        if key == seen:
            return gr.skip(), gr.skip(), gr.skip()
        return gr.Dataframe(rows, visible=bool(rows)), gr.HTML(visible=not rows), key

    return look


def _row(one: Standing) -> list[str]:
    run = one.summary
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)) if run.started else ""
    return [
        text(f"train_state_{one.state}"),
        one.name,
        began,
        f"{run.step:,} / {run.total_steps or '?'}",
        duration(run.elapsed_s),
        "" if run.gap is None else f"{run.gap:+.1%}",
        one.cause or run.verdict or "",
    ]


def _choose(rows: Any, event: gr.SelectData) -> tuple[str, str]:
    run = str(event.row_value[COLUMNS.index("run")])
    return run, _named(run)


def _named(run: str) -> str:
    return text("runs_chosen", run=run) if run else text("runs_choose")


def _recipe(desk: Desk, run: str) -> Recipe:
    if not run:
        raise SettingsError(text("runs_choose"))
    return Recipe.load(desk.workspace.inside("runs", run) / "recipe.toml")


def _resuming(desk: Desk) -> Callable[[str, float], Any]:
    def go_on(run: str, more: float) -> Any:
        _recipe(desk, run)
        resume(desk.workspace, run, [f"length.steps=+{more:.0f}"] if more else [])
        ensure_worker(desk.workspace, hooks(desk.options))
        return gr.Tabs(selected="train")

    return go_on


def _deleting(desk: Desk) -> Callable[[str, str], tuple[str, str]]:
    def delete(run: str, sure: str) -> tuple[str, str]:
        if not run or sure.strip() != run:
            raise SettingsError(text("runs_not_sure", run=run))
        remove(desk.workspace, run)
        return "", ""

    return delete


def _differences(desk: Desk) -> None:
    """Two runs against one another: what was set otherwise, and where that led."""
    with gr.Accordion(label("runs_differ"), open=False) as fold:
        with gr.Row():
            first = gr.Dropdown([], label=label("runs_first"), min_width=200)
            second = gr.Dropdown([], label=label("runs_second"), min_width=200)
        said = gr.HTML()
        plot = gr.Plot(show_label=False, visible=False)

    def offer() -> tuple[Any, Any]:
        names = [one.name for one in overview(desk.workspace)]
        return gr.Dropdown(names), gr.Dropdown(names)

    def differ(one: str | None, other: str | None) -> tuple[Any, Any]:
        if not one or not other:
            return "", gr.Plot(visible=False)
        found = differences(_recipe(desk, one), _recipe(desk, other))
        rows = "".join(
            f"<tr><td><code>{html.escape(path)}</code></td>"
            f"<td>{html.escape(_shown(a))}</td><td>{html.escape(_shown(b))}</td></tr>"
            for path, (a, b) in found.items()
        )
        head = f"<tr><th></th><th>{html.escape(one)}</th><th>{html.escape(other)}</th></tr>"
        table = f'<table class="differ"><thead>{head}</thead><tbody>{rows}</tbody></table>'
        series = {name: _gaps(desk, name) for name in (one, other)}
        drawn = several(series) if any(steps for steps, _ in series.values()) else None
        return table if found else text("runs_alike"), gr.Plot(drawn, visible=drawn is not None)

    fold.expand(offer, None, [first, second], **QUIETLY)
    gr.on([first.input, second.input], saying(differ), [first, second], [said, plot], **QUIETLY)


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


def _gaps(desk: Desk, run: str) -> tuple[list[float], list[float]]:
    """Steps and change of the stable loss against the base, in percent."""
    seen = view(desk.workspace.inside("runs", run))
    seen.refresh()
    measured = [e for e in seen.of(Validated) if e.split == "train" and e.base_loss]
    return [e.step for e in measured], [100 * (e.loss / (e.base_loss or 1) - 1) for e in measured]
