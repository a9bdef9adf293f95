"""Which checkpoint at which strength: one prompt and seed in rows and columns."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from workbench.app.compare_look import announced, waiting
from workbench.app.compare_model import drawing, estimate_s, give_back, known, wanted_of
from workbench.app.desk import HIDDEN, MISTAKES, QUIETLY, Desk
from workbench.app.form import mistake
from workbench.app.words import label, text
from workbench.evaluation.page import data_uri
from workbench.settings import SettingsError
from workbench.workspace.loras import Source, checkpoints, find

STRENGTHS = (0.5, 0.75, 1.0, 1.25)
MAX_ROWS = 6
SIDE_PX = 256


def build(desk: Desk, chosen: gr.Dropdown, base: gr.Textbox) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        chosen: what is compared.
        base: where the base lies, if not where the source says.
    """
    gr.Markdown(label("compare_grid_lead"), elem_classes="lead")
    with gr.Row(equal_height=True):
        prompt = gr.Dropdown(
            [], allow_custom_value=True, label=label("compare_prompt"), scale=3, min_width=220
        )
        seed = gr.Number(0, precision=0, minimum=0, label=label("compare_seed"), min_width=90)
        strengths = gr.Textbox(
            ", ".join(f"{value:g}" for value in STRENGTHS), label=label("compare_strengths"),
            min_width=160, elem_id="compare-strengths",
        )  # fmt: skip
    with gr.Row():
        go = gr.Button(label("compare_grid_go"), elem_id="compare-grid-go", min_width=160)
        stop = gr.Button(label("compare_stop"), elem_id="compare-grid-stop", min_width=120)
    said, table = gr.HTML(), gr.HTML(elem_id="compare-grid")

    def offer(key: str | None) -> tuple[Any, str, str]:
        try:
            prompts = wanted_of(find(desk.workspace, key)).prompts if key else ()
        except MISTAKES:  # what is wrong with it is said when it is to be drawn
            prompts = ()
        return gr.Dropdown(list(prompts), value=prompts[0] if prompts else ""), "", ""

    def draw(*inputs: Any) -> Iterator[tuple[Any, Any]]:
        yield from _draw(desk, *inputs)

    event = go.click(
        draw, [chosen, base, prompt, seed, strengths], [said, table], **HIDDEN,
        api_visibility="private", concurrency_id="compare", concurrency_limit=2,
    )  # fmt: skip
    chosen.change(offer, chosen, [prompt, said, table], cancels=[event], **QUIETLY)
    stop.click(lambda: give_back(), None, None, cancels=[event], **QUIETLY)


def _draw(
    desk: Desk, key: str | None, base: str, prompt: str, seed: float, strengths: str
) -> Iterator[tuple[Any, Any]]:
    try:
        values = _numbers(strengths)
        source = find(desk.workspace, key or "")
        files = rows_of(source)
        asked = [(prompt, int(seed), value) for value in values]
        there = sum(len(known(source, file, asked)) for file in files)
        count = len(files) * len(asked) - there
        if count:
            yield announced(count, estimate_s(source, count)), _table(files, values, {})
        found: dict[tuple[Path, float], Image.Image] = {}
        for file in files:
            for now in drawing(desk.workspace, source, asked, file=file, base=base or None):
                found |= {(file, job[2]): image for job, image in now.pictures.items()}
                yield waiting(now) if now.waits else "", _table(files, values, found)
    except MISTAKES as error:
        yield mistake(str(error)), gr.skip()


def rows_of(source: Source) -> list[Path]:
    """The files that a grid shows.

    Args:
        source: a run or a file.
    Returns:
        The file; of a run at most six, the first and the last among them.
    """
    from workbench.evaluation.grid import spread

    return spread(checkpoints(source.path), MAX_ROWS) if source.is_run else [source.path]


def _numbers(strengths: str) -> list[float]:
    try:
        values = [float(piece) for piece in strengths.split(",") if piece.strip()]
    except ValueError:
        values = []
    if not values or len(values) > 8 or not all(-4 <= value <= 4 for value in values):
        raise SettingsError(text("compare_strengths_wrong", given=strengths))
    return list(dict.fromkeys(values))


def _table(
    files: Sequence[Path],
    values: Sequence[float],
    found: Mapping[tuple[Path, float], Image.Image],
) -> str:
    head = "".join(f"<th>{value:g}</th>" for value in values)
    body = ""
    for file in files:
        cells = "".join(_cell(file, value, found.get((file, value))) for value in values)
        body += f"<tr><th>{html.escape(file.stem)}</th>{cells}</tr>"
    return (
        f'<div class="matrix"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(file: Path, value: float, image: Image.Image | None) -> str:
    if image is None:
        return '<td><div class="pending"></div></td>'
    alt = html.escape(f"{file.stem}, {value:g}")
    return f'<td><img alt="{alt}" title="{alt}" src="{data_uri(image, SIDE_PX)}"></td>'
