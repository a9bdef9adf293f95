"""The tab Compare: is it better than the base? Pictures, numbers, and a vote with hidden sides."""

import html
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context

from workbench.app import compare_grid, compare_look, compare_measure, compare_vote
from workbench.app.compare_source import wanted_of
from workbench.app.desk import QUIETLY, Desk, same_as, saying
from workbench.app.words import label, text
from workbench.recipe import Recipe
from workbench.workspace.loras import Source, find, keep, sources


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    tab: Any = Context.block
    gr.Markdown(label("compare_title"), elem_classes="tab-title")
    gr.Markdown(label("compare_lead"), elem_classes="lead")
    empty = gr.HTML(_empty())
    with gr.Row(equal_height=True):
        chosen = gr.Dropdown(
            [], label=label("compare_source"), info=label("compare_source_info"),
            elem_id="compare-source", scale=3, min_width=240,
        )  # fmt: skip
        upload = gr.UploadButton(
            label("compare_upload"), file_types=[".safetensors"], file_count="single", scale=1,
            min_width=160, elem_id="compare-upload",
        )  # fmt: skip
    with gr.Accordion(label("compare_more"), open=False):
        base = gr.Textbox(label=label("compare_base"), info=label("compare_base_info"))
    with gr.Column(visible=False) as rest:
        compare_look.build(desk, chosen, base)
        with gr.Accordion(label("compare_grid"), open=False):
            compare_grid.build(desk, chosen, base)
        with gr.Accordion(label("compare_measure"), open=False):
            compare_measure.build(desk, chosen, base)
        with gr.Accordion(label("compare_vote"), open=False):
            compare_vote.build(desk, chosen, base)
    same_as(desk, _python, _shell)

    def offer(run: str, now: str | None) -> tuple[Any, Any, Any]:
        """What there is to compare; the run on show is chosen when the tab is opened."""
        found = sources(desk.workspace)
        keys = [one.key for one in found]
        wished = (now, f"run/{run}")
        key = next((one for one in wished if one in keys), keys[0] if keys else None)
        among = [(_said(one), one.key) for one in found]
        return (
            gr.Dropdown(among, value=key),
            gr.HTML(visible=not keys),
            gr.Column(visible=bool(keys)),
        )

    outputs = [chosen, empty, rest]
    tab.select(offer, [desk.run, chosen], outputs, **QUIETLY)
    desk.run.change(lambda run: offer(run, None), desk.run, outputs, **QUIETLY)

    def take(path: str) -> Any:
        kept = keep(desk.workspace, Path(path), Path(path).name)
        return gr.Dropdown([(_said(s), s.key) for s in sources(desk.workspace)], value=kept.key)

    upload.upload(saying(take), upload, chosen, api_visibility="private").then(
        offer, [desk.run, chosen], outputs, **QUIETLY
    )


def _empty() -> str:
    title, info = text("compare_empty"), text("compare_empty_info")
    return f'<div class="empty"><b>{html.escape(title)}</b>{html.escape(info)}</div>'


def _said(one: Source) -> str:
    if one.is_run:
        return text("compare_run", name=one.run)
    if one.run:
        return text("compare_file", name=one.path.name, run=one.run)
    return text("compare_own", name=one.path.name)


def prompts_of(desk: Desk, key: str) -> tuple[str, ...]:
    """The prompts of what was chosen.

    Args:
        desk: what all tabs share.
        key: of the source.
    Returns:
        As they are sampled.
    """
    return wanted_of(find(desk.workspace, key)).prompts


def _python(recipe: Recipe) -> str:
    return f'import workbench as wb\n\nwb.compare("runs/{recipe.name}").show()'


def _shell(recipe: Recipe) -> str:
    return f"workbench compare runs/{recipe.name}"
