"""The tab Train: what is to be trained on the left, what is being trained on the right."""

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from workbench.app import train_live, train_setup
from workbench.app.desk import Desk, Options, hooks
from workbench.app.words import text
from workbench.recipe import Recipe
from workbench.workspace.folders import Workspace
from workbench.workspace.jobs import Budget
from workbench.workspace.overview import Standing, overview
from workbench.workspace.queue import enqueue
from workbench.workspace.spawning import ensure_worker

AT_WORK = ("running", "paused", "starting", "finishing")
ENDED = ("finished", "stopped", "failed", "crashed")


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    with gr.Row():
        with gr.Column(scale=4, min_width=320):
            train_setup.build(desk, launch)
        with gr.Column(scale=7, min_width=320):
            train_live.build(desk)


def launch(desk: Desk, recipe: Recipe, budget: Budget | None = None) -> tuple[str, Any]:
    """Queue a recipe and see to it that a worker is there; twice is once.

    Args:
        desk: what all tabs share.
        recipe: what to train.
        budget: when it has cost enough.
    Returns:
        The run's name, and the tab to go to.
    Raises:
        SettingsError: the recipe is refused.
    """
    job = enqueue(desk.workspace, recipe, budget=budget)
    ensure_worker(desk.workspace, hooks(desk.options))
    return job.run, gr.Tabs(selected="train")


def at_work(standings: Sequence[Standing]) -> Standing | None:
    """Which run is being trained.

    Args:
        standings: all runs.
    Returns:
        It, or None where none is.
    """
    return next((one for one in standings if one.state in AT_WORK), None)


def notice(workspace: Workspace, run: str) -> None:
    """Tell whoever looks at the page, at whichever tab, that a run has ended.

    Args:
        workspace: where.
        run: name of the one that was at work until now; "" for none.
    """
    state = next((one.state for one in overview(workspace) if one.name == run), "")
    if state in ENDED:
        say = gr.Info if state in ("finished", "stopped") else gr.Warning
        say(text(f"train_notice_{state}", run=run), duration=None)


def status_line(standings: Sequence[Standing], options: Options) -> str:
    """What goes on in the workspace, for the head of the page.

    Args:
        standings: all runs.
        options: price and currency.
    Returns:
        HTML.
    """
    queued = sum(one.state == "queued" for one in standings)
    working = at_work(standings)
    if working is None:
        said = text("page_idle") if not queued else text("page_queued", count=queued)
        return f'<div class="status" data-title="{text("page_title")}">{said}</div>'
    parts = [
        train_live.pill(working.state),
        f"<b>{html.escape(working.name)}</b>",
        *_advance(working),
        *train_live.money(working, options),
    ]
    if queued:
        parts.append(html.escape(text("page_more", count=queued)))
    title = f"{_share(working):.0%} · {working.name} · {text('page_title')}"
    return f'<div class="status" data-title="{html.escape(title)}">{" ".join(parts)}</div>'


def on_show(workspace: Workspace) -> str:
    """Which run a page that was just opened shows.

    Args:
        workspace: where.
    Returns:
        The one at work, else the one that waits or began last; "" without any.
    """
    return next((one.name for one in overview(workspace)), "")


def _share(standing: Standing) -> float:
    total = standing.summary.total_steps
    return min(1.0, standing.summary.step / total) if total else 0.0


def _advance(standing: Standing) -> list[str]:
    step, total = standing.summary.step, standing.summary.total_steps
    if not total:
        return [f"<span>{text('page_step_open', step=step)}</span>"]
    share = f'<span class="meter"><i style="width:{100 * _share(standing):.1f}%"></i></span>'
    return [share, f"<span>{text('page_step', step=step, total=total)}</span>"]
