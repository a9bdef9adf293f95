"""The tab Runs: what has become of each, going on with one, and how several differ."""

import html
import time
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.context import Context

from workbench.app.desk import AT_ONCE, QUIETLY, Desk, hooks, saved_as, saying
from workbench.app.words import label, text
from workbench.evaluation.page import data_uri, duration
from workbench.plots.curves import several
from workbench.recipe import Recipe
from workbench.records.events import Validated
from workbench.settings import SettingsError
from workbench.workspace.overview import Standing, overview
from workbench.workspace.queue import resume
from workbench.workspace.removing import remove
from workbench.workspace.spawning import ensure_worker
from workbench.workspace.views import view

MAX_SIDE_BY_SIDE = 6
SIDE_PX = 256
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
    """Runs against one another: what was set otherwise, where that led, and what each has drawn."""
    with gr.Accordion(label("runs_differ"), open=False) as fold:
        chosen = gr.Dropdown(
            [], multiselect=True, max_choices=MAX_SIDE_BY_SIDE, label=label("runs_several"),
            info=label("runs_several_info"), elem_id="runs-several",
        )  # fmt: skip
        said = gr.HTML(elem_id="runs-differ")
        plot = gr.Plot(show_label=False, visible=False)
        drawn = gr.HTML(elem_id="runs-pictures")
    fold.expand(
        lambda: gr.Dropdown([one.name for one in overview(desk.workspace)]), None, chosen, **QUIETLY
    )
    show = saying(lambda names: _side_by_side(desk, names or []))
    chosen.change(show, chosen, [said, plot, drawn], **QUIETLY)


def _side_by_side(desk: Desk, names: list[str]) -> tuple[str, Any, str]:
    """What recipes differ in, curves over one another, and samples of equal prompt and seed."""
    from workbench.evaluation.several import recipe_differences

    if len(names) < 2:
        return "", gr.Plot(visible=False), ""
    found = recipe_differences([_recipe(desk, name) for name in names])
    rows = "".join(
        f"<tr><td><code>{html.escape(path)}</code></td>"
        + "".join(f"<td>{html.escape(value)}</td>" for value in values)
        + "</tr>"
        for path, values in found.items()
    )
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    table = f'<table class="differ"><thead><tr><th></th>{head}</tr></thead>'
    said = f'<div class="table">{table}<tbody>{rows}</tbody></table></div>'
    series = {name: _gaps(desk, name) for name in names}
    plot = several({k: v for k, v in series.items() if v[0]}) if any(series.values()) else None
    return (
        said if found else text("runs_alike"),
        gr.Plot(plot, visible=plot is not None),
        _samples(desk, names),
    )


def _samples(desk: Desk, names: list[str]) -> str:
    """A row a prompt and seed that all of them have drawn: the first one's base, then each run."""
    from workbench.evaluation.compare import drawn_pictures

    every = [drawn_pictures(desk.workspace.inside("runs", name)) for name in names]
    shots = [(p, s) for p, s, at in every[0] if at and all((p, s, 1.0) in one for one in every)]
    hint = text("runs_more_pictures", command=f"workbench compare {' '.join(names)}")
    hint = f'<p class="lead">{html.escape(hint)}</p>'
    if not shots:
        return hint
    columns = [(text("compare_base_picture"), every[0], 0.0)]
    columns += [(name, one, 1.0) for name, one in zip(names, every, strict=True)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name, _, _ in columns)
    body = ""
    for prompt, seed in shots:
        cells = ""
        for name, pictures, at in columns:
            image = pictures.get((prompt, seed, at))
            alt = html.escape(f"{name} · {text('train_seed', seed=seed)} · {prompt}")
            uri = "" if image is None else data_uri(image, SIDE_PX)
            cells += f'<td><img alt="{alt}" title="{alt}" src="{uri}"></td>' if uri else "<td></td>"
        said = f"<span>{html.escape(prompt)}</span> <i>{text('train_seed', seed=seed)}</i>"
        body += f"<tr><th>{said}</th>{cells}</tr>"
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="matrix pairs grid">{table}</div>{hint}'


def _gaps(desk: Desk, run: str) -> tuple[list[float], list[float]]:
    """Steps and change of the stable loss against the base, in percent."""
    from workbench.evaluation.several import gap_series

    seen = view(desk.workspace.inside("runs", run))
    seen.refresh()
    return gap_series(seen.of(Validated))
