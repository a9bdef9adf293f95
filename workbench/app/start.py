"""The first question: what is to be taught. One press trains what stands there."""

import base64
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench import intents, settings
from workbench.app.desk import AT_ONCE, QUIETLY, Desk, pictures, same_as, saying
from workbench.app.following import reasons
from workbench.app.train import launch
from workbench.app.words import label, text
from workbench.critters.concepts import CONCEPTS
from workbench.recipe import Recipe
from workbench.settings.advice import follow, kept

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset, Record

NUM_SHOWN = 12
# What each intent is shown on, as long as nobody brings pictures of their own.
CONCEPT_OF = {"character": "character", "style": "style", "object": "character", "scene": "place"}


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    gr.Markdown(label("start_title"), elem_classes="tab-title")
    gr.Markdown(label("start_lead"), elem_classes="lead")
    among = [(label(f"start_{intent}"), intent) for intent in intents.INTENTS]
    intent = gr.Radio(among, value=None, show_label=False, container=False, elem_id="intent")
    what = gr.Markdown(elem_classes="lead")
    strip = gr.HTML(elem_id="start-pictures")
    with gr.Row(equal_height=True):
        press = gr.Button(
            label("start_train"),
            variant="primary",
            size="lg",
            elem_classes="big",
            elem_id="train-now",
        )
        estimate = gr.Markdown(elem_classes="lead")
    with gr.Accordion(label("start_why"), visible=False) as fold:
        why = gr.HTML()
    same_as(desk, _python, _shell)
    outputs = [what, strip, estimate, why, fold]
    intent.input(_choose, [desk.recipe, intent], desk.recipe, **QUIETLY)
    gr.on(
        [desk.moved.change, intent.input],
        _describe,
        [desk.recipe, intent],
        outputs,
        **AT_ONCE,
    )
    press.click(
        saying(lambda recipe: launch(desk, recipe)),
        desk.recipe,
        [desk.run, desk.tabs],
        api_visibility="private",
        concurrency_limit=1,
    )


@saying
def _choose(recipe: Recipe, intent: str) -> Recipe:
    """Follow what an intent asks for; a built-in concept changes to the one that shows it."""
    first = recipe.data.subsets[0] if recipe.data.subsets else None
    if first is not None and first.path.startswith("critters:"):
        name = CONCEPT_OF[intent]
        trigger = CONCEPTS[name].trigger
        subset = settings.replace(first, path=f"critters:{name}", trigger=trigger)
        data = settings.replace(recipe.data, subsets=(subset, *recipe.data.subsets[1:]))
        recipe = settings.replace(recipe, data=data, name=trigger)
    return follow(intents.advise(intent, recipe), recipe)


@saying
def _describe(recipe: Recipe, intent: str | None) -> tuple[str, str, str, str, Any]:
    steps = recipe.length.steps
    estimate = text("start_estimate", steps=f"{steps:,}") if steps else ""
    advice = kept(intents.advise(intent, recipe), recipe) if intent else ()
    return (*_pictures(recipe), estimate, reasons(advice), gr.Accordion(visible=bool(advice)))


def _pictures(recipe: Recipe) -> tuple[str, str]:
    dataset = pictures(recipe)
    if dataset is None or not len(dataset):
        return text("start_nothing"), ""
    subset = recipe.data.subsets[0]
    records = [record for record in dataset.records if record.subset == 0]
    if subset.path.startswith("critters:"):
        said = text("start_built_in", count=len(records))
    elif subset.trigger:
        said = text("start_own", count=len(records), source=subset.path, trigger=subset.trigger)
    else:
        said = text("start_no_trigger", count=len(records), source=subset.path)
    return said, _strip(dataset, records[:NUM_SHOWN])


def _strip(dataset: "Dataset", records: "Sequence[Record]") -> str:
    from workbench.workspace.thumbnails import thumbnail

    found = []
    for record in records:
        data = base64.b64encode(thumbnail(dataset, record).read_bytes()).decode()
        alt = html.escape(record.caption)
        found.append(f'<img alt="{alt}" title="{alt}" src="data:image/webp;base64,{data}">')
    return f'<div class="strip">{"".join(found)}</div>'


def _python(recipe: Recipe) -> str:
    return (
        "import workbench as wb\n\n"
        f'recipe = wb.Recipe.load("{recipe.name}.toml")\n'
        "for event in wb.start(recipe).train():\n    print(event)"
    )


def _shell(recipe: Recipe) -> str:
    return f"workbench train {recipe.name}.toml"
