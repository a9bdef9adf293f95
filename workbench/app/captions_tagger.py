"""A model puts pictures into words: which one, how sure it must be, what it may overwrite."""

import functools
import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr

from workbench.app.desk import HIDDEN, MADE_ANEW, Desk, loading, pictures, saying, written
from workbench.app.form import component, from_form
from workbench.app.words import label, text
from workbench.data.tags import Mode
from workbench.recipe import Recipe
from workbench.settings import Entry, SettingsError, override, walk

if TYPE_CHECKING:
    from workbench.models.tagging import TaggingSettings

KINDS = ("critters", "clip", "wd14", "image_to_text")


def build(desk: Desk) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
    """
    with gr.Accordion(label("captions_tagger"), open=False, elem_id="tagger"):
        gr.Markdown(label("captions_tagger_lead"), elem_classes="lead")
        kinds = [(label(f"captions_tagger_{kind}"), kind) for kind in KINDS]
        kind = gr.Radio(kinds, value=KINDS[0], label=label("captions_tagger_kind"))
        modes = [(label(f"captions_mode_{mode}"), mode) for mode in get_args(Mode)]
        mode = gr.Radio(modes, value="missing", label=label("captions_mode"), elem_id="tag-mode")
        exclude = gr.Textbox(label=label("captions_exclude"), info=label("captions_exclude_info"))

        @gr.render(inputs=kind, **MADE_ANEW)
        def show(chosen: str) -> None:
            entries = [e for e in walk(_settings(chosen)) if not e.path.endswith(".kind")]
            with gr.Accordion(label("captions_tagger_settings"), open=chosen != KINDS[0]):
                fields = [component(entry) for entry in entries]
            with gr.Row():
                go = gr.Button(label("captions_tagger_go"), variant="primary", elem_id="tag-go")
                stop = gr.Button(label("captions_tagger_stop"), elem_id="tag-stop")
            told = gr.HTML(elem_id="tag-told")
            working = go.click(
                functools.partial(_read, desk, chosen, entries),
                [desk.recipe, desk.edits, mode, exclude, *fields], [told, desk.edits],
                api_visibility="private", concurrency_limit=1, concurrency_id="tagger",
                **HIDDEN,
            )  # fmt: skip
            stop.click(None, None, None, cancels=[working], api_visibility="private")


def _settings(kind: str) -> "TaggingSettings":
    from workbench.models.tagging import TaggingSettings

    return override(TaggingSettings(), [f"tagger.kind={kind}"])


def _read(
    desk: Desk, kind: str, entries: list[Entry], recipe: Recipe, *given: Any
) -> Iterator[tuple[Any, Any]]:
    """Read picture after picture, and write what was read at once: a stop loses nothing."""
    edits, *_ = given
    yield _bar(text("captions_tagger_loading"), 0, 0), gr.skip()
    plan, write = saying(_prepare)(desk, kind, entries, recipe, *given)
    changed = done = total = 0
    # One step of the plan at a time, so that a damaged picture is said like any other mistake.
    while (step := saying(next)(plan, None)) is not None:
        done, total, changes = step
        changed += saying(write)(changes)
        said = text("captions_tagger_reads", done=f"{done:,}", total=f"{total:,}", changed=changed)
        yield _bar(said, done, total), gr.skip()
    said = text("captions_tagger_done", total=f"{total:,}", changed=f"{changed:,}")
    if not total:
        said = text("captions_tagger_nothing")
    yield _bar(said, done, total), written(edits)


def _prepare(
    desk: Desk, kind: str, entries: list[Entry], recipe: Recipe, *given: Any
) -> tuple[Any, Any]:
    """Load the model, and plan what it reads."""
    from workbench.data.edits import Edit, editable, plan_reading

    _, mode, exclude, *values = given
    dataset = pictures(recipe)
    view = editable(dataset) if dataset is not None else None
    if view is None or not view.records:
        raise SettingsError(text("captions_no_folder"))
    pairs = zip(entries, values, strict=True)
    settings = override(_settings(kind), [from_form(entry, value) for entry, value in pairs])
    with loading():
        tagger: Any = settings.tagger.load(_device(desk))

    def read(images: list[Any]) -> list[list[str]]:
        return [[found.text for found in picture] for picture in tagger.read(images)]

    separator = view.settings.captions.separator.strip()
    unwanted = [word.strip() for word in exclude.split(separator) if word.strip()]
    plan = plan_reading(view, read, mode=mode, batch_size=tagger.batch_size, exclude=unwanted)
    return plan, Edit(view).write


def _device(desk: Desk) -> str:
    """The GPU where nothing trains on it."""
    import torch

    from workbench.workspace.queue import jobs

    busy = any(job.alive for job in jobs(desk.workspace))
    return "cuda" if torch.cuda.is_available() and not busy else "cpu"


def _bar(said: str, done: int, total: int) -> str:
    share = 100 * done / total if total else 0
    return (
        f'<div class="tokens" role="status"><div class="meter"><i style="width:{share:.0f}%"></i>'
        f"</div><span>{html.escape(said)}</span></div>"
    )


__all__ = ["build"]
