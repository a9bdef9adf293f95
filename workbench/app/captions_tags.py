"""All tags of all captions: how often each stands, which stand together, edits of all at once."""

from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.app.desk import AT_ONCE, MISTAKES, QUIETLY, Desk, pictures, saying, written
from workbench.app.words import label, text
from workbench.data.tags import co_occurrence, count_tags
from workbench.recipe import Recipe
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

MAX_ROWS = 1000
NUM_TOGETHER = 20  # tags in the figure: more are too small to read
ALWAYS_FROM = 3  # captions that two tags share before it is worth a word


def build(desk: Desk) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
    """
    edits = desk.edits
    gr.Markdown(label("captions_tags"), elem_classes="part-title")
    gr.Markdown(label("captions_tags_lead"), elem_classes="lead")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            table = gr.Dataframe(
                headers=[text(f"captions_{name}") for name in ("tag", "count", "share")],
                datatype=["str", "number", "str"], type="array", interactive=False,
                show_label=False, show_search="filter", max_height=360, buttons=[],
                column_widths=["60%", "20%", "20%"], elem_id="tags",
            )  # fmt: skip
        with gr.Column(scale=2, min_width=300):
            picked = gr.Dropdown(
                [], multiselect=True, label=label("captions_picked"),
                info=label("captions_picked_info"), elem_id="tags-picked",
            )  # fmt: skip
            new = gr.Textbox(
                label=label("captions_new"), info=label("captions_new_info"), elem_id="tags-new"
            )
            with gr.Row():
                rename = gr.Button(label("captions_rename"), min_width=120, elem_id="tags-rename")
                remove = gr.Button(label("captions_remove"), min_width=120, elem_id="tags-remove")
            with gr.Row():
                first = gr.Button(label("captions_first"), min_width=120)
                last = gr.Button(label("captions_last"), min_width=120)
    with gr.Accordion(label("captions_together"), open=False) as fold:
        said = gr.Markdown(elem_classes="lead")
        square = gr.Plot(show_label=False, container=False)
    seen = gr.State(None)
    gr.on(
        desk.moved.change,
        _list, [desk.recipe, seen], [table, picked, seen], **AT_ONCE,
    )  # fmt: skip
    gr.on([fold.expand, edits.change], _together, desk.recipe, [said, square], **AT_ONCE)
    table.select(_pick, [picked], picked, **QUIETLY)
    for press, edit in ((rename, _rename), (remove, _remove), (first, _first), (last, _last)):
        press.click(
            saying(edit), [desk.recipe, picked, new, edits], edits, api_visibility="private"
        )


def _list(recipe: Recipe, seen: Any) -> tuple[Any, Any, Any]:
    try:
        dataset = pictures(recipe)
    except MISTAKES:  # the tab Data says what is wrong with them
        dataset = None
    captions = recipe.data.captions
    now = (id(dataset.records) if dataset is not None else 0, captions.separator)
    if now == seen:
        return gr.skip(), gr.skip(), gr.skip()
    counts = count_tags(_words(dataset), captions).most_common(MAX_ROWS)
    total = max(1, len(dataset) if dataset is not None else 0)
    rows = [[tag, count, f"{count / total:.0%}"] for tag, count in counts]
    among = [(f"{tag} ({count})", tag) for tag, count in counts]
    return rows, gr.Dropdown(among, value=None), now


def _words(dataset: "Dataset | None") -> list[str]:
    """Captions to count in; a drawn world has new ones in every epoch."""
    if dataset is None or dataset.is_drawn:
        return []
    return [record.caption for record in dataset.records]


def _pick(picked: list[str] | None, event: gr.SelectData) -> list[str]:
    """A press on a row takes its tag, another one leaves it."""
    tag, picked = str(event.row_value[0]), picked or []
    return [one for one in picked if one != tag] if tag in picked else [*picked, tag]


def _together(recipe: Recipe) -> tuple[str, Any]:
    from workbench.plots.together import together

    try:
        dataset = pictures(recipe)
    except MISTAKES:  # the tab Data says what is wrong with them
        dataset = None
    words, captions = _words(dataset), recipe.data.captions
    counts = count_tags(words, captions)
    tags = [tag for tag, _ in counts.most_common(NUM_TOGETHER)]
    if len(tags) < 2:
        return text("captions_together_none"), None
    pairs = co_occurrence(words, captions)
    always = [
        f"`{one}` + `{other}`"
        for (one, other), count in pairs.most_common()
        if ALWAYS_FROM <= count == counts[one] == counts[other] < len(words)
    ]
    said = text("captions_always", pairs=", ".join(always[:8])) if always else ""
    return said, together(tags, counts, pairs)


def _rename(recipe: Recipe, picked: list[str], new: str, edits: int) -> Any:
    return _edit(recipe, edits, rename=dict.fromkeys(_some(picked), _word(new)))


def _remove(recipe: Recipe, picked: list[str], new: str, edits: int) -> Any:
    return _edit(recipe, edits, remove=_some(picked))


def _first(recipe: Recipe, picked: list[str], new: str, edits: int) -> Any:
    return _edit(recipe, edits, prepend=[_word(new)])


def _last(recipe: Recipe, picked: list[str], new: str, edits: int) -> Any:
    return _edit(recipe, edits, append=[_word(new)])


def _some(picked: list[str]) -> list[str]:
    if not picked:
        raise SettingsError(text("captions_none_picked"))
    return picked


def _word(new: str) -> str:
    if not new.strip() or not new.isprintable():
        raise SettingsError(text("captions_no_word"))
    return new.strip()


def _edit(recipe: Recipe, edits: int, **changes: Any) -> Any:
    """Edit the captions of all folders; what is drawn or zipped is left alone."""
    from workbench.data.edits import Edit, editable, plan_edit

    dataset = pictures(recipe)
    view = editable(dataset) if dataset is not None else None
    if view is None or not view.records:
        raise SettingsError(text("captions_no_folder"))
    count = Edit(view).write(plan_edit(view, **changes))
    if not count:
        gr.Info(text("captions_same"))
        return gr.skip()
    gr.Info(text("captions_edited", count=count), duration=4)
    return written(edits)
