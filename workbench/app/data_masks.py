"""Painting on a picture what is to be learnt of it."""

from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from workbench.app.desk import Desk, pictures, saying, written
from workbench.app.form import form
from workbench.app.gallery import Shelf
from workbench.app.words import label, text
from workbench.recipe import Recipe
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

SIDE_PX = 768  # of what is painted on; the mask is written in the picture's own size
PAINT = (240, 60, 90)


def build(desk: Desk, on_show: Shelf) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        on_show: the gallery that a picture is chosen in.
    """
    with gr.Accordion(label("data_masks"), open=False, elem_id="masks"):
        gr.Markdown(label("data_masks_lead"), elem_classes="lead")
        take = gr.Button(label("data_masks_take"), elem_id="mask-take")
        painted = gr.State("")
        with gr.Column(visible=False) as easel:
            editor = gr.ImageEditor(
                type="pil",
                sources=(),
                transforms=(),
                layers=False,
                brush=gr.Brush(default_size=32, colors=[_hex()], color_mode="fixed"),
                eraser=gr.Eraser(default_size=32),
                label=label("data_masks_editor"),
                elem_id="mask-editor",
                buttons=[],
            )
            with gr.Row():
                save = gr.Button(label("data_masks_save"), variant="primary", elem_id="mask-save")
                remove = gr.Button(label("data_masks_remove"), elem_id="mask-remove")
        said = gr.Markdown(elem_id="mask-said")
        form(desk, lambda entry: entry.path.startswith(("data.masks.", "data.inpainting.")))
    shown: list[Any] = [editor, easel, said, painted]
    take.click(saying(_take), [desk.recipe, on_show.chosen], shown, api_visibility="private")
    outputs = [said, desk.edits]
    inputs = [desk.recipe, painted, desk.edits]
    save.click(saying(_save), [*inputs, editor], outputs, api_visibility="private")
    remove.click(saying(_remove), inputs, [editor, *outputs], api_visibility="private")


def _hex() -> str:
    return "#" + "".join(f"{part:02x}" for part in PAINT)


def _take(recipe: Recipe, index: int) -> tuple[Any, Any, str, str]:
    """Put a picture on the easel, with the mask that it has."""
    from workbench.data.painting import read_mask

    dataset = pictures(recipe)
    if dataset is None:
        raise SettingsError(text("data_empty"))
    index = min(index, len(dataset) - 1)
    image = dataset.open(dataset.records[index])
    image.thumbnail((SIDE_PX, SIDE_PX))
    mask = read_mask(dataset, index)
    layers = []
    if mask is not None:
        layer = Image.new("RGBA", image.size, (*PAINT, 0))
        layer.putalpha(mask.convert("L").resize(image.size))
        layers = [layer]
    value = {"background": image, "layers": layers, "composite": None}
    label = dataset.label(dataset.records[index])
    return value, gr.Column(visible=True), _coverage(dataset, index), label


def _coverage(dataset: "Dataset", index: int) -> str:
    name, mask = dataset.records[index].name, dataset.masks[index]
    fills = dataset.settings.inpainting is not None
    lead = text("data_masks_fill_lead") + "\n\n" if fills else ""
    if mask is None:
        return lead + text("data_masks_random" if fills else "data_masks_whole", name=name)
    said = "data_masks_fills" if fills else "data_masks_covers"
    return lead + text(said, name=name, share=f"{mask.coverage:.0%}")


def _find(recipe: Recipe, label: str) -> "tuple[Dataset, int]":
    """The picture on the easel, wherever it stands by now."""
    dataset = pictures(recipe)
    labels = [] if dataset is None else [dataset.label(record) for record in dataset.records]
    if dataset is None or label not in labels:
        raise SettingsError(text("data_masks_none"))
    return dataset, labels.index(label)


def _save(recipe: Recipe, label: str, edits: int, value: Any) -> tuple[str, int]:
    from workbench.data.painting import write_mask

    dataset, index = _find(recipe, label)
    if not value or value["background"] is None:
        raise SettingsError(text("data_masks_none"))
    write_mask(dataset, index, _painted(value))
    risen = written(edits)
    return _coverage(*_find(recipe, label)), risen


def _painted(value: dict[str, Any]) -> Image.Image:
    """What is covered with paint, as a mask: white where it is."""
    mask = Image.new("L", value["background"].size, 0)
    for layer in value["layers"]:
        mask.paste(255, mask=layer.convert("RGBA").getchannel("A"))
    return mask


def _remove(recipe: Recipe, label: str, edits: int) -> tuple[Any, str, int]:
    from workbench.data.painting import remove_mask

    remove_mask(*_find(recipe, label))
    risen = written(edits)
    value, _, said, _ = _take(recipe, _find(recipe, label)[1])
    return value, said, risen
