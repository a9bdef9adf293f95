"""Settings that follow from the base of a recipe: followed where it is changed, and shown."""

import functools
import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from workbench import base_change
from workbench.app.words import text
from workbench.recipe import Recipe
from workbench.settings.advice import Advice

NUM_TOLD, SECONDS = 5, 15.0  # changes named in a notice, and how long it stays


def changed(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """Change settings, and let what follows from a new base follow; the page says what did.

    Args:
        recipe: what is being made.
        assignments: as `Recipe.override` takes them.
    Returns:
        The new recipe.
    Raises:
        SettingsError: a value does not fit.
    """
    after, followed = base_change.override(recipe, assignments)
    tell(followed)
    return after


def preset(name: str) -> Recipe:
    """Take a preset as this machine can train it; the page says what differs from its file.

    Args:
        name: of the preset.
    Returns:
        The recipe.
    """
    recipe, followed = base_change.preset(name)
    tell(followed)
    return recipe


def tell(followed: Sequence[Advice]) -> None:
    """Say on the page what followed; nothing is said of nothing.

    Args:
        followed: settings with their reasons.
    """
    if followed:
        head = html.escape(text("data_model_followed", count=len(followed)))
        more = html.escape(text("data_model_followed_more"))
        listed = reasons(followed[:NUM_TOLD])
        gr.Info(f"<p><b>{head}</b></p>{listed}<p>{more}</p>", duration=SECONDS)


def standing(recipe: Recipe, stamp: float) -> str:
    """What follows from a recipe's base and still stands in it, as it stands in the page.

    Args:
        recipe: what is being made.
        stamp: changes when the base's files do.
    Returns:
        HTML; "" where nothing is known of the base.
    """
    asked: Any = recipe  # frozen, so it can be a key
    found = _follows(asked, stamp)
    if not found:
        return ""
    head = html.escape(text("data_model_follows", count=len(found)))
    return f'<details class="follows"><summary>{head}</summary>{reasons(found)}</details>'


@functools.lru_cache(maxsize=8)
def _follows(recipe: Recipe, stamp: float) -> tuple[Advice, ...]:
    return base_change.follows(recipe)


def reasons(advice: Sequence[Advice]) -> str:
    """Settings with their reasons, as they stand in the page.

    Args:
        advice: of a base or an intent.
    Returns:
        HTML, everything in it escaped.
    """
    rows = [
        f"<div><code>{html.escape(short(one))}</code><span>{html.escape(one.reason)}</span></div>"
        for one in advice
    ]
    return f'<div class="reasons">{"".join(rows)}</div>'


def short(advice: Advice) -> str:
    """A setting and its value, without what goes without saying.

    Args:
        advice: one piece.
    Returns:
        Such as "adapter.rank = 8"; of prompts and sources the name alone.
    """
    name = advice.setting.removeprefix("data.")
    return name if isinstance(advice.value, list) else f"{name} = {_word(advice.value)}"


def _word(value: Any) -> str:
    if value is None:
        return text("page_automatic")
    return str(value).lower() if isinstance(value, bool) else str(value)
