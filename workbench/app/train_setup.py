"""What is to be trained: preset, settings, pitfalls, what it will need, a budget, and Start."""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from workbench.app import following
from workbench.app.desk import AT_ONCE, MISTAKES, QUIETLY, Desk, findings, same_as, saying
from workbench.app.form import as_html, every_setting, form
from workbench.app.words import label, text
from workbench.recipe import Recipe, presets
from workbench.settings import Entry
from workbench.workspace.jobs import Budget
from workbench.workspace.measuring import measure

Launch = Callable[[Desk, Recipe, Budget | None], tuple[str, Any]]
# These have tabs of their own.
ELSEWHERE = ("data.", "noise.", "base.")


def build(desk: Desk, launch: Launch) -> None:
    """Make the left side.

    Args:
        desk: what all tabs share.
        launch: queues a recipe.
    """
    gr.Markdown(label("train_title"), elem_classes="tab-title")
    preset = gr.Dropdown(
        list(presets()), value=None, label=label("train_preset"), info=label("train_preset_info")
    )
    form(desk, is_basic)
    every_setting(desk)
    pitfalls = gr.HTML(elem_id="pitfalls")
    with gr.Accordion(label("train_budget"), open=False):
        gr.Markdown(label("train_budget_info"), elem_classes="lead")
        with gr.Row():
            minutes = gr.Number(None, label=label("train_minutes"), minimum=0, min_width=120)
            money = gr.Number(None, label=label("train_money"), minimum=0, min_width=120)
            price = gr.Number(
                desk.options.price_per_hour, label=label("train_price"), minimum=0, min_width=120
            )
    with gr.Accordion(label("train_measure"), open=False):
        gr.Markdown(label("train_measure_info"), elem_classes="lead")
        ask = gr.Button(label("train_measure_press"), size="sm")
        answer = gr.Code(
            language=None, show_label=False, interactive=False, lines=6, wrap_lines=True
        )
    press = gr.Button(
        label("train_start"), variant="primary", size="lg", elem_id="start", elem_classes="big"
    )
    same_as(desk, _python, _shell)

    preset.input(saying(following.preset), preset, desk.recipe, **QUIETLY)
    desk.moved.change(_pitfalls, desk.recipe, pitfalls, **AT_ONCE)
    press.click(
        saying(lambda recipe, *budget: launch(desk, recipe, _budget(*budget))),
        [desk.recipe, minutes, money, price],
        [desk.run, desk.tabs],
        api_visibility="private",
        concurrency_limit=1,
    )
    ask.click(
        _measuring(desk),
        [desk.recipe, price],
        answer,
        api_visibility="private",
        concurrency_limit=1,
    )


def is_basic(entry: Entry) -> bool:
    """Whether the short form of this tab shows a setting.

    Args:
        entry: the setting.
    Returns:
        True for basic ones that no other tab has.
    """
    return entry.basic and not entry.path.startswith(ELSEWHERE)


def _budget(minutes: float | None, money: float | None, price: float | None) -> Budget | None:
    if not minutes and not money:
        return None
    return Budget(minutes=minutes or None, money=money or None, price_per_hour=price or None)


def _pitfalls(recipe: Recipe) -> str:
    """Every finding, those beside a setting of the short form too: here none is missed."""
    found = findings(recipe)
    if not found:
        return f'<div class="finding fine">{text("train_fine")}</div>'
    return "".join(map(as_html, found))


def _measuring(desk: Desk) -> Callable[[Recipe, float | None], Iterator[str]]:
    def ask(recipe: Recipe, price: float | None) -> Iterator[str]:
        lines: list[str] = []
        try:
            for line in measure(desk.workspace, recipe, price_per_hour=price or None):
                lines.append(line)
                yield "\n".join(lines)
        except MISTAKES as error:
            yield "\n".join([*lines, str(error)])

    return ask


def _python(recipe: Recipe) -> str:
    return (
        "import workbench as wb\n\n"
        f'run = wb.start(wb.Recipe.load("{recipe.name}.toml"))\n'
        "for event in run.train():\n    print(event)"
    )


def _shell(recipe: Recipe) -> str:
    return f"workbench train {recipe.name}.toml"
