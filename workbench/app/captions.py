"""The tab Captions: the words of each picture, all tags at once, what the trainer makes of them."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench import settings
from workbench.app import captions_seen, captions_tagger, captions_tags
from workbench.app.data_source import free_folder, unpack_beside
from workbench.app.desk import AT_ONCE, MISTAKES, Desk, pictures, same_as, saying, written
from workbench.app.gallery import shelf
from workbench.app.words import label, text
from workbench.critters.concepts import CONCEPTS, PRIOR, write_concept
from workbench.data.sources import shown
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.data.subsets import Record

SIDE_PX = 512  # of the picture beside its words


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    gr.Markdown(label("captions_title"), elem_classes="tab-title")
    gr.Markdown(label("captions_lead"), elem_classes="lead")
    edits = desk.edits
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            on_show = shelf(desk, "captions")
        with gr.Column(scale=2, min_width=300):
            parts = _editor()
    image, name, words, counted, save, undo, fixed, why, copied = parts
    captions_seen.build(desk, on_show)
    captions_tags.build(desk)
    captions_tagger.build(desk)
    same_as(desk, _python, _shell)

    seen = gr.State(None)
    looked: list[Any] = [image, name, words, counted, save, fixed, why, seen]
    gr.on(
        [desk.moved.change, on_show.chosen.change, on_show.changed.change],
        _look, [desk.recipe, on_show.chosen, seen], looked, **AT_ONCE,
    )  # fmt: skip
    gr.on(
        [save.click, words.submit],
        saying(_write), [desk.recipe, on_show.chosen, words, name, edits], edits,
        api_visibility="private",
    )  # fmt: skip
    undo.click(saying(_take_back), [desk.recipe, edits], edits, api_visibility="private")
    copied.click(
        saying(lambda recipe: copy_built_in(recipe, desk.workspace)),
        desk.recipe, desk.recipe, api_visibility="private",
    )  # fmt: skip


def _editor() -> tuple[Any, ...]:
    image = gr.Image(
        show_label=False, interactive=False, height=300, buttons=[], elem_id="caption-picture",
        container=False,
    )  # fmt: skip
    name = gr.State("")
    words = gr.Textbox(
        label=label("captions_words"), info=label("captions_words_info"),
        lines=4, max_lines=12, elem_id="caption-words",
    )  # fmt: skip
    counted = gr.HTML(elem_id="caption-counted")
    with gr.Row():
        save = gr.Button(label("captions_save"), variant="primary", elem_id="caption-save")
        undo = gr.Button(label("captions_undo"), elem_id="caption-undo")
    with gr.Column(visible=False) as fixed:
        why = gr.HTML()
        copied = gr.Button(label("captions_copy"), elem_id="caption-copy")
    return image, name, words, counted, save, undo, fixed, why, copied


def _picked(recipe: Recipe, index: int) -> "tuple[Dataset, int] | None":
    dataset = pictures(recipe)
    if dataset is None or not len(dataset):
        return None
    return dataset, min(index, len(dataset) - 1)


def _look(recipe: Recipe, index: int, seen: Any) -> tuple[Any, ...]:
    """The chosen picture and its words; not sent again over words that are being typed."""
    try:
        picked = _picked(recipe, index)
        if picked is None:
            return _nothing(text("data_empty"))
        dataset, index = picked
        record = dataset.records[index]
        counted, reason = captions_seen.counted(recipe, dataset, index), _read_only(dataset, record)
        now = (dataset.label(record), record.caption, reason)
        if now == seen:
            skipped = [gr.skip()] * 7
            return (*skipped[:3], counted, *skipped[3:])
        image = dataset.open(record)
    except MISTAKES as error:
        return _nothing(str(error))
    image.thumbnail((SIDE_PX, SIDE_PX))
    note = f'<div class="finding note">{html.escape(reason)}</div>'
    return (
        image,
        dataset.label(record),
        gr.Textbox(record.caption, interactive=not reason),
        counted,
        gr.Button(interactive=not reason),
        gr.Column(visible=bool(reason)),
        note,
        now,
    )


def _nothing(said: str) -> tuple[Any, ...]:
    words, save = gr.Textbox("", interactive=False), gr.Button(interactive=False)
    return None, "", words, html.escape(said), save, gr.Column(visible=False), "", None


def _read_only(dataset: "Dataset", record: "Record") -> str:
    """Why a caption cannot be edited; empty where it can."""
    path = dataset.settings.subsets[record.subset].path
    if path.startswith("critters:"):
        name = path.partition(":")[2]
        return text("captions_built_in" if name in (*CONCEPTS, PRIOR) else "captions_drawn")
    return text("captions_zip", path=Path(path).name) if record.path is None else ""


def _write(recipe: Recipe, index: int, words: str, name: str, edits: int) -> Any:
    """Write the caption of the picture that is on show, wherever it stands by now."""
    from workbench.data.edits import Edit, plan_caption

    picked = _picked(recipe, index)
    if picked is None or picked[0].label(picked[0].records[picked[1]]) != name:
        raise SettingsError(text("captions_moved"))
    dataset, record = picked[0], picked[0].records[picked[1]]
    changes = plan_caption(dataset, record, words)
    if not Edit(dataset).write(changes):
        gr.Info(text("captions_same"))
        return gr.skip()
    gr.Info(text("captions_saved", name=shown(record.name)), duration=3)
    return written(edits)


def _take_back(recipe: Recipe, edits: int) -> int:
    from workbench.data.edits import take_back

    dataset = pictures(recipe)
    if dataset is None:
        raise SettingsError(text("data_empty"))
    gr.Info(text("captions_undone", count=take_back(dataset)), duration=4)
    return written(edits)


def copy_built_in(recipe: Recipe, workspace: Workspace) -> Recipe:
    """Copy built-in and zipped pictures of a recipe into the workspace, so that they can be edited.

    Args:
        recipe: what is being made.
        workspace: gets a folder for each concept and zip.
    Returns:
        The recipe with the folders in place of the concepts and zips.
    Raises:
        FileRefused: a zip is dangerous, or the disk has no room.
    """
    subsets = []
    for subset in recipe.data.subsets:
        world, _, name = subset.path.partition(":")
        if world == "critters" and name in (*CONCEPTS, PRIOR):
            folder = free_folder(workspace, name)
            write_concept(name, folder)
            subset = settings.replace(subset, path=str(folder))
        elif (archive := Path(subset.path).expanduser()).is_file():
            subset = settings.replace(subset, path=str(unpack_beside(workspace, archive)[0]))
        subsets.append(subset)
    return settings.replace(recipe, data=settings.replace(recipe.data, subsets=tuple(subsets)))


def _python(recipe: Recipe) -> str:
    return (
        "from workbench.data.dataset import index\n"
        "from workbench.data.edits import Edit, plan_edit\n\n"
        f'dataset = index(wb.Recipe.load("{recipe.name}.toml").data)\n'
        'Edit(dataset).write(plan_edit(dataset, rename={"grey": "gray"}))'
    )


def _shell(recipe: Recipe) -> str:
    import shlex

    path = recipe.data.subsets[0].path if recipe.data.subsets else "FOLDER"
    return f"workbench caption {shlex.quote(path)} --rename grey=gray --write"
