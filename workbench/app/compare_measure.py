"""All prompts by base and LoRA, with and without the trigger; numbers, intervals, the report."""

import html
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from workbench.app.compare_look import announced, waiting
from workbench.app.compare_model import drawing, estimate_s, give_back, known
from workbench.app.compare_source import Brush, Job, final_file, recipe_of, wanted_of
from workbench.app.compare_views import known_of, nearest
from workbench.app.desk import HIDDEN, MISTAKES, QUIETLY, Desk, file_link, pictures
from workbench.app.form import mistake
from workbench.app.words import label, text
from workbench.evaluation.page import data_uri
from workbench.workspace.loras import Source, find

if TYPE_CHECKING:
    from workbench.evaluation.compare import Plan
    from workbench.evaluation.copying import Known
    from workbench.evaluation.results import Comparison, DriftRow

SIDE_PX = 256


def build(desk: Desk, chosen: gr.Dropdown, base: gr.Textbox) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        chosen: what is compared.
        base: where the base lies, if not where the source says.
    """
    gr.Markdown(label("compare_measure_lead"), elem_classes="lead")
    with gr.Row(equal_height=True):
        seeds = gr.Slider(
            1, 8, 2, step=1, label=label("compare_seeds"), info=label("compare_seeds_info"),
            min_width=200,
        )  # fmt: skip
        go = gr.Button(label("compare_measure_go"), variant="primary", min_width=160,
                       elem_id="compare-measure-go")  # fmt: skip
        stop = gr.Button(label("compare_stop"), min_width=120)
    said = gr.HTML()
    numbers, table = gr.HTML(elem_id="compare-numbers"), gr.HTML(elem_id="compare-pairs")
    files = gr.HTML(elem_id="compare-files")
    report = gr.DownloadButton(label("compare_report"), visible=False, elem_id="compare-report")

    def draw(*inputs: Any) -> Iterator[tuple[Any, ...]]:
        yield from _draw(desk, *inputs)

    event = go.click(
        draw, [chosen, base, seeds], [said, numbers, table, files, report],
        **HIDDEN, api_visibility="private", concurrency_id="compare",
        concurrency_limit=2,
    )  # fmt: skip
    stop.click(lambda: give_back(), None, None, cancels=[event], **QUIETLY)
    clear = lambda: ("", "", "", "", gr.DownloadButton(visible=False))  # noqa: E731
    outputs = [said, numbers, table, files, report]
    chosen.change(clear, None, outputs, cancels=[event], **QUIETLY)


def _draw(desk: Desk, key: str | None, base: str, seeds: float) -> Iterator[tuple[Any, ...]]:
    """Draw all pairs, the pictures coming as they are done; at last the numbers and the report."""
    from workbench.evaluation.compare import CompareSettings, make_plan

    started, skip = time.monotonic(), gr.skip()
    try:
        source = find(desk.workspace, key or "")
        wanted, brush = wanted_of(source), Brush(source, final_file(source), base or None)
        first = wanted.sampling.seeds[0]
        every = tuple(range(first, first + int(seeds)))
        plan = make_plan(wanted, CompareSettings(seeds=every))
        count = len(plan.jobs) - len(known(brush, plan.jobs))
        if count:
            yield announced(count, estimate_s(brush, count)), "", "", "", skip
        found: dict[Job, Image.Image] = {}
        for now in drawing(desk.workspace, brush, plan.jobs):
            found = now.pictures
            progress = text("compare_progress", done=now.done, total=now.total)
            line = waiting(now) if now.waits else f'<p class="lead">{progress}</p>'
            yield line, skip, _pairs(plan, brush, found), skip, skip
        comparison = plan.comparison(found, seconds=time.monotonic() - started)
        table = _pairs(plan, brush, found, trained=known_of(source))
        yield "", _numbers(source, comparison), table, *_outcome(source, comparison, base)
    except MISTAKES as error:
        yield mistake(str(error)), skip, skip, skip, skip


def _pairs(
    plan: "Plan", brush: Brush, found: Mapping[Job, Image.Image], *, trained: "Known | None" = None
) -> str:
    """A row a prompt: base and LoRA, the nearest training picture, then both without trigger."""
    names = ["base_picture", "lora_picture", "base_without", "lora_without"]
    names[2:2] = ["near_head"] if trained is not None else []
    head = "".join(f"<th>{html.escape(text(f'compare_{name}'))}</th>" for name in names)
    body = ""
    near = iter(trained.nearest([found[*one, 1.0] for one in plan.pairs]) if trained else [])
    leaks = iter(plan.leaks)
    for one in plan.pairs:
        leak = next(leaks, None) if one[1] == plan.pairs[0][1] else None
        cells = [_cell((*one, at), brush, found) for at in (0.0, 1.0)]
        cells += [f"<td>{nearest(next(near))}</td>"] if trained else []
        cells += [_cell((*leak, at), brush, found) for at in (0.0, 1.0)] if leak else []
        seed = text("train_seed", seed=one[1])
        said = f"<span>{html.escape(one[0])}</span> <i>{seed}</i>"
        body += f"<tr><th>{said}</th>{''.join(cells)}</tr>"
    return (
        f'<div class="matrix pairs"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(job: Job, brush: Brush, found: Mapping[Job, Image.Image]) -> str:
    image = found.get(job)
    if image is None:
        return '<td><div class="pending"></div></td>'
    alt = html.escape(brush.caption(job))
    return f'<td><img alt="{alt}" title="{alt}" src="{data_uri(image, SIDE_PX)}"></td>'


def _numbers(source: Source, comparison: "Comparison") -> str:
    """Likeness, match, diversity and colour drift, each with its interval."""
    from workbench.evaluation.drift import drift
    from workbench.evaluation.measures import measures

    recipe = recipe_of(source)
    rows: tuple[DriftRow, ...] = ()
    if recipe is not None:
        try:
            dataset = pictures(recipe)
        except MISTAKES:  # the pictures are no longer there: likeness cannot be said
            dataset = None
        rows = measures(comparison.pairs, recipe, dataset)
    moved = drift(comparison.leakage or comparison.pairs)
    where = "compare_drift_plain" if comparison.leakage else "compare_drift_all"
    parts = [_block(text("compare_numbers"), text("compare_numbers_lead"), rows, "{:.3f}")]
    parts.append(_block(text("compare_drift"), text(where), moved, "{:.1f}"))
    return "".join(parts)


def _block(title: str, lead: str, rows: "tuple[DriftRow, ...]", form: str) -> str:
    if not rows:
        return ""
    names = ("measured", "base_picture", "change", "interval")
    head = "".join(f"<th>{html.escape(text(f'compare_{name}'))}</th>" for name in names)
    body = "".join(
        f'<tr class="{"moved" if row.moved else ""}"><td>{html.escape(row.name)}</td>'
        f"<td>{form.format(row.base)}</td><td>{_signed(form, row.change)}</td>"
        f"<td>{_signed(form, row.low)} … {_signed(form, row.high)}</td></tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    said = f"<h3>{html.escape(title)}</h3><p class='lead'>{html.escape(lead)}</p>"
    return f'{said}<div class="table">{table}</div>'


def _signed(form: str, value: float) -> str:
    return ("+" if value > 0 else "") + form.format(value)


def _outcome(source: Source, comparison: "Comparison", base: str) -> tuple[str, Any]:
    """The report and the LoRA to take along: a run's by their addresses, others as a file."""
    from workbench.evaluation.report import write_report

    if not source.run:
        from gradio.utils import get_upload_folder  # pyright: ignore[reportAttributeAccessIssue]

        out = Path(get_upload_folder()) / f"{source.path.stem}.html"
        path = write_report(source.path, comparison=comparison, base=base or None, out=out)
        return "", gr.DownloadButton(value=str(path), visible=True)
    place = source.path if source.is_run else source.path.parent.parent
    write_report(place, comparison=comparison, base=base or None, out=place / "report.html")
    file = final_file(source)
    links = [(file_link(source.run, "report.html"), text("compare_report"))]
    if file.is_file():
        said = text("train_download", name=file.name)
        links.append((file_link(source.run, f"lora/{file.name}"), said))
    shown = " ".join(
        f'<a class="button" href="{html.escape(address)}" target="_blank">{html.escape(words)}</a>'
        for address, words in links
    )
    return f'<p class="files">{shown}</p>', gr.DownloadButton(visible=False)
