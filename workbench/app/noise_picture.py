"""What noise does to a picture at each timestep, how often that is trained, how much it counts."""

import functools
import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from workbench.app.desk import AT_ONCE, Desk, saying
from workbench.app.form import form
from workbench.app.noise_study import named, scene, uri
from workbench.app.words import label, text
from workbench.models.source import is_critters
from workbench.plots.timesteps import emphasis, signal
from workbench.process import grid
from workbench.recipe import Recipe

if TYPE_CHECKING:
    from workbench.diffusion.objective import Objective

CRITTERS = "critters"
FIRST_T = 500


def build(desk: Desk, tab: Any, slots: Sequence[gr.State]) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        tab: the `gr.Tab` that it stands in.
        slots: the noise of each column.
    """
    gr.Markdown(label("noise_picture"), elem_classes="part-title")
    gr.Markdown(label("noise_picture_lead"), elem_classes="lead")
    timestep = gr.Slider(
        0, 999, FIRST_T, step=1, label=label("noise_timestep"), info=label("noise_timestep_info"),
        elem_id="noise-timestep",
    )  # fmt: skip
    waits = f'<div class="empty">{text("noise_loading")}</div>'
    pictures = gr.HTML(waits, elem_id="noise-pictures")
    # The base whose autoencoder is shown: another one than critters only when it is asked for.
    base = gr.State(CRITTERS)
    with gr.Row(visible=False) as other:
        why = gr.Markdown(elem_classes="lead")
        load = gr.Button(label("noise_load"), size="sm", scale=0, min_width=220)
    gr.Markdown(label("noise_when"), elem_classes="part-title")
    gr.Markdown(label("noise_when_lead"), elem_classes="lead")
    with gr.Row():
        left = gr.Plot(show_label=False, container=False, min_width=320)
        counts = gr.Plot(show_label=False, container=False, min_width=320)
    form(desk, lambda entry: entry.path.split(".")[0] in ("timesteps", "weighting"))

    seen, weighed = gr.State(None), gr.State(None)
    moves = [tab.select, timestep.input, base.change, *(slot.change for slot in slots)]
    gr.on(
        moves, saying(_under), [*slots, timestep, base, seen], [pictures, left, seen],
        trigger_mode="always_last", **AT_ONCE,
    )  # fmt: skip
    gr.on(
        [desk.moved.change, base.change],
        saying(_weigh), [desk.recipe, base, weighed],
        [counts, other, why, weighed], **AT_ONCE,
    )  # fmt: skip
    load.click(saying(_load), desk.recipe, base, api_visibility="private", concurrency_limit=1)


def _load(recipe: Recipe) -> Any:
    scene(recipe.base)
    return recipe.base


def _under(*inputs: Any) -> tuple[Any, Any, Any]:
    """The picture under each noise; what is on show already is not sent again."""
    *noises, timestep, base, seen = inputs
    now = (*noises, timestep, base)
    if now == seen:
        return gr.skip(), gr.skip(), gr.skip()
    chosen = [noise for noise in noises if noise is not None]
    shown = "".join(_figure(base, noise, int(timestep)) for noise in chosen)
    snr = scene(base).snr
    left = gr.skip() if seen and seen[-2:] == now[-2:] else signal(snr, marked=int(timestep))
    return f'<div class="under">{shown}</div>', left, now


def _figure(base: Any, noise: Any, timestep: int) -> str:
    name = html.escape(named(noise))
    said = html.escape(text("noise_under", name=named(noise), timestep=timestep))
    source = _decoded(base, noise, timestep)
    return f'<figure><img alt="{said}" src="{source}"><figcaption>{name}</figcaption></figure>'


@functools.lru_cache(maxsize=128)
def _decoded(base: Any, noise: Any, timestep: int) -> str:
    (pixels,) = scene(base).under(noise, timesteps=[timestep]).values()
    return uri(Image.fromarray(pixels))


def _weigh(recipe: Recipe, base: Any, weighed: Any) -> tuple[Any, Any, Any, Any]:
    """Density and weight of the timesteps, and the offer to load the recipe's own base."""
    now = (recipe.timesteps, recipe.weighting, recipe.base, base)
    if now == weighed:
        return tuple(gr.skip() for _ in range(4))  # type: ignore[return-value]
    found = _objective(recipe, base)
    weights = found.weights(grid(found.process)).tolist()
    drawn = emphasis(density=found.density.tolist(), weights=weights)
    foreign = not is_critters(recipe.base.path) and recipe.base != base
    said = text("noise_foreign", base=recipe.base.path) if foreign else ""
    return drawn, gr.Row(visible=foreign), said, now


def _objective(recipe: Recipe, base: Any) -> "Objective":
    from workbench.diffusion.objective import Objective

    return Objective(
        recipe.loss, recipe.weighting, recipe.timesteps, process=scene(base).family.process
    )
