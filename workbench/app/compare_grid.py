"""A live grid over any two of prompt, seed, strength, checkpoint, guidance and steps."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from PIL import Image

from workbench.app.compare_axes import AXES, line, proposed
from workbench.app.compare_look import announced, waiting
from workbench.app.compare_model import drawing, estimate_s, give_back, known
from workbench.app.compare_source import Brush, Job, final_file, wanted_of
from workbench.app.desk import HIDDEN, MISTAKES, QUIETLY, Desk
from workbench.app.form import mistake
from workbench.app.words import label, text
from workbench.evaluation.grid import Line, spots
from workbench.evaluation.page import data_uri
from workbench.evaluation.painter import Spot, sampled
from workbench.records.sampling import without_trigger
from workbench.workspace.loras import Source, find

SIDE_PX = 256
PLAIN = object()  # the column without the trigger
Cells = dict[tuple[object, object], Spot]
_START = {"rows": "checkpoint", "columns": "strength"}


def build(desk: Desk, chosen: gr.Dropdown, base: gr.Textbox) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        chosen: what is compared.
        base: where the base lies, if not where the source says.
    """
    gr.Markdown(label("compare_grid_lead"), elem_classes="lead")
    among = [(label(f"compare_axis_{axis}"), axis) for axis in AXES]
    lines: dict[str, tuple[gr.Dropdown, gr.Textbox]] = {}
    with gr.Row(equal_height=True):
        for name in ("rows", "columns"):
            with gr.Column(min_width=240):
                axis = gr.Dropdown(among, value=_START[name], label=label(f"compare_{name}"),
                                   elem_id=f"compare-{name}")  # fmt: skip
                values = gr.Textbox(label=label("compare_values"), lines=2, max_lines=8,
                                    info=label("compare_values_info"),
                                    elem_id=f"compare-{name}-values")  # fmt: skip
                lines[name] = axis, values
    with gr.Row(equal_height=True):
        prompt = gr.Dropdown(
            [], allow_custom_value=True, label=label("compare_prompt"), scale=3, min_width=220
        )
        seed = gr.Number(0, precision=0, minimum=0, label=label("compare_seed"), min_width=90)
        plain = gr.Checkbox(False, label=label("compare_plain"), min_width=200,
                            elem_id="compare-plain")  # fmt: skip
    with gr.Row():
        go = gr.Button(label("compare_grid_go"), elem_id="compare-grid-go", min_width=160)
        stop = gr.Button(label("compare_stop"), elem_id="compare-grid-stop", min_width=120)
    said, table = gr.HTML(), gr.HTML(elem_id="compare-grid")

    def draw(*inputs: Any) -> Iterator[tuple[Any, Any]]:
        yield from _draw(desk, *inputs)

    def offer(*now: Any) -> tuple[Any, ...]:
        return *_offer(desk, *now), "", ""

    (rows, row_values), (columns, column_values) = lines.values()
    offered = [prompt, row_values, column_values, said, table]
    for axis, values in lines.values():
        axis.input(lambda *now: _values(desk, *now), [chosen, axis], values, **QUIETLY)
    event = go.click(
        draw, [chosen, base, rows, row_values, columns, column_values, prompt, seed, plain],
        [said, table], **HIDDEN, api_visibility="private", concurrency_id="compare",
        concurrency_limit=2,
    )  # fmt: skip
    chosen.change(offer, [chosen, rows, columns], offered, cancels=[event], **QUIETLY)
    stop.click(lambda: give_back(), None, None, cancels=[event], **QUIETLY)


def _offer(desk: Desk, key: str | None, rows: Any, columns: Any) -> tuple[Any, str, str]:
    """Prompts and values of what was chosen; what is wrong with it is said when it is drawn."""
    try:
        prompts = wanted_of(find(desk.workspace, key)).prompts if key else ()
    except MISTAKES:
        prompts = ()
    shown = gr.Dropdown(list(prompts), value=prompts[0] if prompts else "")
    return shown, _values(desk, key, rows), _values(desk, key, columns)


def _values(desk: Desk, key: str | None, axis: Any) -> str:
    try:
        return proposed(axis, find(desk.workspace, key)) if key else ""
    except MISTAKES:
        return ""


def _draw(desk: Desk, key: str | None, base: str, *given: Any) -> Iterator[tuple[Any, Any]]:
    row_axis, row_values, column_axis, column_values, prompt, seed, plain = given
    try:
        source = find(desk.workspace, key or "")
        rows, columns = (
            line(axis, values, source)
            for axis, values in ((row_axis, row_values), (column_axis, column_values))
        )
        cells = _cells(source, rows, columns, prompt=prompt, seed=int(seed), plain=plain)
        groups = _groups(source, cells, base or None)
        missing = {brush: len(jobs) - len(known(brush, jobs)) for brush, jobs in groups.items()}
        if count := sum(missing.values()):
            seconds = sum(estimate_s(brush, n) for brush, n in missing.items())
            empty = _table(source, cells, (rows, columns), found={}, base=base or None)
            yield announced(count, seconds), empty
        found: dict[tuple[Brush, Job], Image.Image] = {}
        for brush, jobs in groups.items():
            for now in drawing(desk.workspace, brush, jobs):
                found |= {(brush, job): image for job, image in now.pictures.items()}
                shown = _table(source, cells, (rows, columns), found=found, base=base or None)
                yield waiting(now) if now.waits else "", shown
    except MISTAKES as error:
        yield mistake(str(error)), gr.skip()


def _cells(
    source: Source, rows: Line, columns: Line, *, prompt: str, seed: int, plain: bool
) -> Cells:
    """Every cell, and at the end of each row the same without the trigger, if asked for."""
    fixed = Spot(final_file(source), prompt, seed)
    cells: Cells = dict(spots(fixed, rows, columns))
    wanted = wanted_of(source)
    if plain and wanted.trigger:
        words = {"trigger": wanted.trigger, "class_word": wanted.class_word}
        beside = spots(fixed, rows, Line(columns.axis, (_usual(fixed, columns),)))
        for (row, _), spot in beside.items():
            cells[row, PLAIN] = replace(spot, prompt=without_trigger(spot.prompt, **words))
    return cells


def _usual(fixed: Spot, columns: Line) -> object:
    """What the columns' axis is where it is not told: as trained, and the first prompt and seed."""
    usual: dict[str, object] = {"strength": 1.0, "checkpoint": fixed.file}
    if columns.axis in ("guidance", "steps"):
        return None
    return usual.get(columns.axis, columns.values[0])


def _brush(source: Source, spot: Spot, base: str | None) -> Brush:
    own = wanted_of(source).sampling
    how = sampled(own, guidance=spot.guidance, steps=spot.steps)
    return Brush(source, spot.file, base, None if how == own else how)


def _job(spot: Spot) -> Job:
    return spot.prompt, spot.seed, float(spot.strength)


def _groups(source: Source, cells: Cells, base: str | None) -> dict[Brush, list[Job]]:
    """What each brush draws, so that files change places as seldom as possible."""
    groups: dict[Brush, list[Job]] = {}
    files = list(dict.fromkeys(spot.file for spot in cells.values()))
    for spot in sorted(cells.values(), key=lambda spot: files.index(spot.file)):
        jobs = groups.setdefault(_brush(source, spot, base), [])
        if _job(spot) not in jobs:
            jobs.append(_job(spot))
    return groups


def _table(
    source: Source, cells: Cells, lines: Sequence[Line], *,
    found: Mapping[tuple[Brush, Job], Image.Image], base: str | None,
) -> str:  # fmt: skip
    rows, columns = lines
    across = [*columns.values, *([PLAIN] if any(c is PLAIN for _, c in cells) else [])]
    names = [
        text("compare_plain_column") if value is PLAIN else columns.label(value) for value in across
    ]
    head = "".join(f"<th><span>{html.escape(name)}</span></th>" for name in names)
    body = ""
    for row in rows.values:
        spots_there = [cells[row, column] for column in across]
        shown = "".join(_cell(_brush(source, one, base), _job(one), found) for one in spots_there)
        body += f"<tr><th><span>{html.escape(rows.label(row))}</span></th>{shown}</tr>"
    return (
        f'<div class="matrix grid"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(brush: Brush, job: Job, found: Mapping[tuple[Brush, Job], Image.Image]) -> str:
    image = found.get((brush, job))
    if image is None:
        return '<td><div class="pending"></div></td>'
    alt = html.escape(brush.caption(job))
    return f'<td><img alt="{alt}" title="{alt}" src="{data_uri(image, SIDE_PX)}"></td>'
