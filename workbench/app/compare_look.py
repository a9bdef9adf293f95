"""One prompt and seed by base and LoRA at any strength, and the nearest training picture."""

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from workbench.app.compare_model import Advance, drawing, estimate_s, give_back, known
from workbench.app.compare_source import Brush, final_file, wanted_of
from workbench.app.compare_views import SCRIPT, VIEWS, Shown, known_of, views
from workbench.app.desk import HIDDEN, MISTAKES, QUIETLY, Desk
from workbench.app.form import mistake
from workbench.app.words import label, text
from workbench.evaluation.page import duration
from workbench.workspace.loras import find


def build(desk: Desk, chosen: gr.Dropdown, base: gr.Textbox) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        chosen: what is compared.
        base: where the base lies, if not where the source says.
    """
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            prompt = gr.Dropdown(
                [], allow_custom_value=True, label=label("compare_prompt"),
                info=label("compare_prompt_info"), elem_id="compare-prompt",
            )  # fmt: skip
            with gr.Row():
                seed = gr.Number(0, precision=0, minimum=0, label=label("compare_seed"),
                                 min_width=100)  # fmt: skip
            strength = gr.Slider(
                0, 2, 1, step=0.05, label=label("compare_strength"),
                info=label("compare_strength_info"), elem_id="compare-strength",
            )  # fmt: skip
            among = [(label(f"compare_view_{view}"), view) for view in VIEWS]
            view = gr.Radio(among, value="slider", label=label("compare_view"),
                            elem_id="compare-view")  # fmt: skip
            said = gr.HTML(elem_id="compare-said")
            stop = gr.Button(label("compare_stop"), size="sm", elem_id="compare-stop")
        with gr.Column(scale=3, min_width=300):
            page = gr.HTML(elem_id="compare-page", js_on_load=SCRIPT)

    def offer(key: str | None) -> Any:
        try:
            prompts = wanted_of(find(desk.workspace, key)).prompts if key else ()
        except MISTAKES:  # what is wrong with it is said when it is to be drawn
            prompts = ()
        return gr.Dropdown(list(prompts), value=prompts[0] if prompts else "")

    def look(*inputs: Any) -> Iterator[tuple[Any, Any]]:
        yield from _look(desk, *inputs)

    inputs = [chosen, base, prompt, seed, strength, view]
    options: dict[str, Any] = HIDDEN | {
        "trigger_mode": "always_last", "api_visibility": "private",
        "concurrency_id": "compare", "concurrency_limit": 2,
    }  # fmt: skip
    event = gr.on(
        [prompt.change, seed.submit, seed.blur, strength.release, view.input, base.blur],
        look, inputs, [page, said], **options,
    )  # fmt: skip
    # Two runs may have one prompt, which does not change then: the pictures must all the same.
    chosen.change(offer, chosen, prompt, cancels=[event], **QUIETLY).then(
        look, inputs, [page, said], **options
    )
    stop.click(lambda: give_back(), None, None, cancels=[event], **QUIETLY)


def _look(
    desk: Desk, key: str | None, base: str, prompt: str, seed: float, strength: float, view: str
) -> Iterator[tuple[Any, Any]]:
    """Show at once what is there; what has to be drawn is announced with its time."""
    if not key or not prompt:
        yield gr.skip(), ""
        return
    asked = [(prompt, int(seed), 0.0), (prompt, int(seed), float(strength))]
    try:
        source = find(desk.workspace, key)
        brush = Brush(source, final_file(source), base or None)
        missing = len(set(asked)) - len(known(brush, asked))
        if missing:
            # Nothing else's pictures stand there meanwhile.
            yield "", announced(missing, estimate_s(brush, missing))
        for now in drawing(desk.workspace, brush, asked):
            if now.waits:
                yield gr.skip(), waiting(now)
            elif all(job in now.pictures for job in asked):
                names = text("compare_base_picture"), text("compare_lora_picture")
                first, second = (
                    Shown(name, brush.caption(job), now.pictures[job])
                    for name, job in zip(names, asked, strict=True)
                )
                yield views(first, second, view), ""
                if (trained := known_of(source)) is not None:
                    [near] = trained.nearest([second.image])
                    yield views(first, second, view, near=near), ""
    except MISTAKES as error:
        yield gr.skip(), mistake(str(error))


def announced(count: int, seconds: float) -> str:
    """Say what is about to be drawn.

    Args:
        count: pictures.
        seconds: expected.
    Returns:
        HTML.
    """
    said = text("compare_draws", count=count, time=duration(seconds))
    return f'<div class="finding note">{html.escape(said)}</div>'


def waiting(now: Advance) -> str:
    """Say why nothing is drawn.

    Args:
        now: how far it has come.
    Returns:
        HTML.
    """
    return f'<div class="finding warn">{html.escape(text("compare_waits", why=now.waits))}</div>'
