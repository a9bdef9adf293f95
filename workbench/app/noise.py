"""The tab Noise: up to four noises side by side, what each does to a picture, when it counts."""

import functools
import html
from typing import Any

import gradio as gr
from gradio.context import Context

from workbench import settings
from workbench.app import noise_picture
from workbench.app.desk import AT_ONCE, MADE_ANEW, QUIETLY, Desk, same_as, saying
from workbench.app.form import component, from_form, mistake
from workbench.app.noise_study import SAMPLES, known, named, studied, uri
from workbench.app.words import label, text
from workbench.diffusion.noise import Gaussian, Noise, Pyramid
from workbench.recipe import Recipe
from workbench.settings import Entry, Settings, SettingsError, setting, walk

NUM_SLOTS = 4
FIRST: tuple[Any, ...] = (Gaussian(), Pyramid(), None, None)
NOTHING, OWN = "nothing", "recipe"


class _Slot(Settings):
    noise: Noise = setting(Gaussian(), help="the noise of one column")


def build(desk: Desk) -> None:
    """Make the tab.

    Args:
        desk: what all tabs share.
    """
    tab: Any = Context.block
    gr.Markdown(label("noise_title"), elem_classes="tab-title")
    gr.Markdown(label("noise_lead"), elem_classes="lead")
    with gr.Row(elem_classes="noises"):
        slots, cards = zip(*(_slot(desk, tab, number) for number in range(NUM_SLOTS)), strict=True)
    with gr.Row():
        radial, related = (_plot() for _ in range(2))
    with gr.Row():
        spread = _plot()
        with gr.Column(min_width=320):
            numbers = gr.HTML(elem_id="noise-numbers")
    noise_picture.build(desk, tab, slots)
    same_as(desk, _python, _shell)

    seen = gr.State(None)
    outputs = [*cards, radial, related, spread, numbers, seen]
    events = [tab.select, *(slot.change for slot in slots)]
    gr.on(events, show, [*slots, seen], outputs, trigger_mode="always_last", **AT_ONCE)


def _plot() -> gr.Plot:
    return gr.Plot(show_label=False, container=False, min_width=320)


def _slot(desk: Desk, tab: Any, number: int) -> tuple[gr.State, gr.HTML]:
    """One column: which noise, its settings, its pictures, and a button that takes it."""
    with gr.Column(min_width=240, elem_classes="noise-slot"):
        slot, made_anew = gr.State(FIRST[number]), gr.State(0)
        choice = gr.Dropdown(
            _choices(), value=_choice(FIRST[number]), show_label=False, container=False,
            label=label("noise_which"), elem_id=f"noise-{number}",
        )  # fmt: skip
        card = gr.HTML()
        _settings(slot, made_anew, tab)
        use = gr.Button(
            label("noise_use"), size="sm", visible=FIRST[number] is not None,
            elem_id=f"noise-use-{number}",
        )  # fmt: skip
    choice.input(_chosen, [choice, desk.recipe, made_anew], [slot, made_anew, use], **QUIETLY)
    use.click(saying(_take), [desk.recipe, slot], desk.recipe, api_visibility="private")
    return slot, card


def _choices() -> list[tuple[str, str]]:
    kinds = next(entry.choices for entry in walk(_Slot()) if entry.path == "noise.kind")
    offered = [(kind.replace("_", " "), kind) for kind in kinds]
    offered += [(text("noise_published", name=name), f"known:{name}") for name in known()]
    return [(text("noise_nothing"), NOTHING), (text("noise_own"), OWN), *offered]


def _choice(noise: Any) -> str:
    return NOTHING if noise is None else noise.kind


def _chosen(choice: str, recipe: Recipe, made_anew: int) -> tuple[Any, int, Any]:
    """Another noise in a column; its form is made anew then."""
    if choice == NOTHING:
        noise = None
    elif choice == OWN:
        noise = recipe.noise
    elif choice.startswith("known:"):
        noise = known()[choice.removeprefix("known:")]
    else:
        noise = settings.override(_Slot(), [f"noise.kind={choice}"]).noise
    return noise, made_anew + 1, gr.Button(visible=noise is not None)


def _settings(slot: gr.State, made_anew: gr.State, tab: Any) -> None:
    """The settings of a column's noise, as its class declares them."""

    @gr.render(inputs=slot, triggers=[made_anew.change, tab.select], **MADE_ANEW)
    def form(noise: Any) -> None:
        entries = [e for e in walk(_Slot(noise=noise or Gaussian())) if e.path != "noise.kind"]
        if noise is None or not entries:
            return
        with gr.Accordion(label("noise_settings"), open=True):
            for entry in entries:
                shown = _component(entry)
                wrong = gr.HTML(visible=False)
                take = functools.partial(_changed, entry)
                outputs = [slot, made_anew, wrong]
                # While a slider is dragged, only the latest value is drawn.
                options: dict[str, Any] = QUIETLY | {
                    "trigger_mode": "always_last",
                    "key": f"take {entry.path}",
                }
                typed = isinstance(shown, gr.Textbox | gr.Number)
                events = [shown.submit, shown.blur] if typed else [shown.input]
                gr.on(events, take, [slot, made_anew, shown], outputs, **options)


def _component(entry: Entry) -> Any:
    """A number between two bounds is easiest to play with on a slider."""
    number = entry.control in ("whole", "number") and not entry.optional
    if not number or entry.lowest is None or entry.highest is None:
        return component(entry)
    step = 1 if entry.control == "whole" else (entry.highest - entry.lowest) / 100
    name = entry.path.removeprefix("noise.").replace(".", " ").replace("_", " ")
    return gr.Slider(
        entry.lowest, entry.highest, entry.value, step=step, label=name, info=entry.help,
        key=entry.path,
    )  # fmt: skip


def _changed(entry: Entry, noise: Any, made_anew: int, value: Any) -> tuple[Any, Any, Any]:
    """One setting of a column; a choice of kinds brings other settings with it."""
    try:
        changed = settings.override(_Slot(noise=noise), [from_form(entry, value)]).noise
    except SettingsError as error:
        return gr.skip(), gr.skip(), gr.HTML(mistake(str(error)), visible=True)
    other = entry.control in ("choice", "presence", "tables")
    return changed, made_anew + 1 if other else gr.skip(), gr.HTML(visible=False)


def _take(recipe: Recipe, noise: Any) -> Recipe:
    changed = settings.replace(recipe, noise=noise)
    gr.Info(text("noise_taken", name=named(noise)), duration=4)
    return changed


def show(*inputs: Any) -> tuple[Any, ...]:
    """Draw the chosen noises.

    Args:
        inputs: the noise of each column, None where there is none; then what the page shows.
    Returns:
        A card for each column, three figures, a table, and what is shown now; only what changed.
    """
    *noises, seen = inputs
    before = seen or [None] * NUM_SLOTS
    if noises == seen:
        return tuple(gr.skip() for _ in range(NUM_SLOTS + 5))
    cards = [
        gr.skip() if seen and now == then else _card(now, number)
        for number, (now, then) in enumerate(zip(noises, before, strict=True))
    ]
    from workbench.evaluation.noise_page import comparison

    found = [studied(noise, number) for number, noise in enumerate(noises) if noise is not None]
    if not found:
        return *cards, None, None, None, "", noises
    figures = comparison(found)
    drawn = (figures[name] for name in ("radial", "correlation", "values"))
    return *cards, *drawn, _table(found), noises


def _card(noise: Any, number: int) -> str:
    if noise is None:
        return f'<div class="empty">{text("noise_empty")}</div>'
    from workbench.evaluation.noise_page import panels

    one = studied(noise, number)
    shown = "".join(
        f'<figure><img alt="{html.escape(name)}" src="{uri(image)}">'
        f"<figcaption>{text(f'noise_{name.split()[-1]}')}</figcaption></figure>"
        for name, image in panels(one, side_px=64)
    )
    return f'<p class="lead">{html.escape(one.explanation)}</p><div class="panels">{shown}</div>'


def _table(found: Any) -> str:
    """The numbers, those of the published code below ours."""
    from workbench.evaluation.noise_page import COLUMNS, ours, published

    head = "".join(
        f'<th title="{html.escape(text(f"noise_column_{k}"))}">{html.escape(name)}</th>'
        for k, name in enumerate(COLUMNS)
    )
    rows = ""
    for one in found:
        rows += _line(one.name, ours(one))
        if theirs := published(one):
            rows += _line(text("noise_theirs"), theirs)
    note = html.escape(text("noise_numbers_note", count=SAMPLES))
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>"
    title = text("noise_numbers")
    return f'<h3>{title}</h3><div class="table">{table}</div><p class="lead">{note}</p>'


def _line(name: str, cells: Any) -> str:
    values = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
    return f"<tr><th>{html.escape(name)}</th>{values}</tr>"


def _python(recipe: Recipe) -> str:
    return (
        "from workbench.evaluation.noise import study\n\n"
        f'one = study("mine", wb.Recipe.load("{recipe.name}.toml").noise)\n'
        "print(one.summary)"
    )


def _shell(recipe: Recipe) -> str:
    plain = settings.as_dict(recipe.noise)
    values = [f"{k}={v}" for k, v in plain.items() if not isinstance(v, dict | list)]
    return " ".join(["workbench noise", *values, "--out noise"])
