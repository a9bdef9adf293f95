"""What the trainer will see of a picture's caption: draws, survival of each tag, tokens."""

import functools
import html
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.app.desk import AT_ONCE, MISTAKES, Desk, loading, pictures
from workbench.app.form import form
from workbench.app.gallery import Shelf
from workbench.app.words import label, text
from workbench.data.captions import simulate, split_tags
from workbench.recipe import Recipe

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset
    from workbench.models.base import BaseSettings
    from workbench.models.family import CaptionTokens

NUM_SHOWN, NUM_DRAWS = 8, 200
# What is changed most; the others are folded away.
FIRST = ("shuffle", "tag_dropout", "keep_tokens", "caption_dropout")


def build(desk: Desk, on_show: Shelf) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
        on_show: the gallery that a picture is chosen in.
    """
    gr.Markdown(label("captions_seen"), elem_classes="part-title")
    gr.Markdown(label("captions_seen_lead"), elem_classes="lead")
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            form(desk, lambda entry: _setting(entry.path) in FIRST)
            with gr.Accordion(label("captions_settings_more"), open=False):
                form(desk, lambda entry: _setting(entry.path) not in ("", *FIRST))
            step = gr.Slider(
                0, 1000, 0, step=1, visible=False,
                label=label("captions_step"), info=label("captions_step_info"),
            )  # fmt: skip
        with gr.Column(scale=3, min_width=300):
            draws = gr.HTML(elem_id="draws")
            bars = gr.Plot(show_label=False, container=False, elem_id="survival")
    seen = gr.State(None)
    gr.on(
        [desk.moved.change, on_show.chosen.change, on_show.changed.change, step.input],
        _show, [desk.recipe, on_show.chosen, step, seen], [draws, bars, step, seen], **AT_ONCE,
    )  # fmt: skip


def _setting(path: str) -> str:
    parts = path.split(".")
    return parts[2] if parts[:2] == ["data", "captions"] else ""


def _show(recipe: Recipe, index: int, step: int, seen: Any) -> tuple[Any, ...]:
    """Draw the chosen picture's caption; nothing is sent where the same stands there already."""
    try:
        dataset = pictures(recipe)
    except MISTAKES:  # the tab Data says what is wrong with them
        dataset = None
    if dataset is None or not len(dataset):
        return "", None, gr.Slider(visible=False), None
    index = min(index, len(dataset) - 1)
    record, captions = dataset.records[index], recipe.data.captions
    trigger, word = dataset.words(record)
    now = (record.caption, captions, trigger, word, recipe.training.seed, index, step)
    if now == seen:
        return tuple(gr.skip() for _ in range(4))
    from workbench.plots.captions import survival

    warm = captions.warmup_steps
    drawn = simulate(
        record.caption, captions, trigger=trigger, class_word=word, num_draws=NUM_DRAWS, step=step
    )
    figure = survival(drawn.survival, num_draws=NUM_DRAWS, trigger=trigger)
    slider = gr.Slider(visible=warm > 0, maximum=max(1, warm))
    return _draws(dataset, index, recipe.training.seed, step=step), figure, slider, now


def _draws(dataset: "Dataset", index: int, seed: int, *, step: int) -> str:
    """The first showings of a picture exactly as the run will have them, a line each."""
    record, captions = dataset.records[index], dataset.settings.captions
    trigger, word = dataset.words(record)
    first = [tag for text in (trigger, word) if text for tag in split_tags(text, captions)]
    rest = [] if captions.wildcards else split_tags(record.caption, captions)
    tags = list(dict.fromkeys([*first, *rest]))
    repeats = dataset.repeats[index]
    lines = []
    for number in range(NUM_SHOWN):
        epoch, repeat = divmod(number, repeats)
        drawn = dataset.caption(index, seed=seed, epoch=epoch, repeat=repeat, step=step)
        when = text("captions_showing", epoch=epoch + 1, repeat=repeat + 1)
        there = split_tags(drawn, captions)
        line = _line(there, tags, first, moves=captions.shuffle) or text("captions_nothing")
        lines.append(f'<li title="{html.escape(when)}">{line}</li>')
    return f'<ol class="draws">{"".join(lines)}</ol>'


def _line(there: list[str], tags: list[str], first: list[str], *, moves: bool) -> str:
    """One draw: what is gone stays in its place, or last where the tags move."""
    gone = [tag for tag in tags if tag not in there]
    kept = set(tags)
    in_order = tags + [tag for tag in there if tag not in kept]
    order = [*there, *gone] if moves else in_order
    return " ".join(_tag(tag, gone=tag in gone, first=tag in first) for tag in order)


def _tag(tag: str, *, gone: bool, first: bool) -> str:
    kind, name = ("del", "gone") if gone else ("span", "first" if first else "kept")
    return f'<{kind} class="tag {name}">{html.escape(tag)}</{kind}>'


def counted(recipe: Recipe, dataset: "Dataset", index: int) -> str:
    """Say how many tokens a caption takes of those that the text encoder reads.

    Args:
        recipe: names the base model.
        dataset: holds the picture.
        index: of the picture.
    Returns:
        HTML; a remark where the base's tokenizer is not known.
    """
    base: Any = recipe.base  # frozen, so it can be a key
    tokens, how = caption_reader(base, recipe.data.captions.max_tokens)
    caption = dataset.plain_caption(index)
    number, limit = tokens.count_tokens(caption), tokens.max_tokens
    if limit is None:
        said = text("captions_tokens_free", number=number) + (f" {how}" if how else "")
        return f'<div class="tokens good"><span>{html.escape(said)}</span></div>'
    said = text("captions_tokens", number=number, limit=limit) + (f" {how}" if how else "")
    share, tone = min(1.0, number / limit), "bad" if number > limit else "good"
    cut = f" {text('captions_tokens_cut', count=number - limit)}" * (number > limit)
    return (
        f'<div class="tokens {tone}"><div class="meter"><i style="width:{100 * share:.0f}%"></i>'
        f"</div><span>{html.escape(said + cut)}</span></div>{_broken(tokens, caption)}"
    )


def _broken(tokens: "CaptionTokens", caption: str) -> str:
    """A caption with marks where one window ends; nothing for a caption of a single one."""
    windows = tokens.windows(caption)
    if len(windows) == 1:
        return ""
    cut = tokens.max_tokens is not None and tokens.count_tokens(caption) > tokens.max_tokens
    parts = [html.escape(part) for part in windows]
    if cut:
        parts[-1] = f'<del title="{html.escape(text("captions_unread"))}">{parts[-1]}</del>'
    mark = f'<b class="break" title="{html.escape(text("captions_break"))}">|</b>'
    return f'<p class="windows">{mark.join(parts)}</p>'


@functools.lru_cache(maxsize=4)
def caption_reader(base: "BaseSettings", max_tokens: int) -> "tuple[CaptionTokens, str]":
    """Find what cuts captions into tokens for a base model; nothing is downloaded for it.

    Args:
        base: the base model.
        max_tokens: `data.captions.max_tokens`.
    Returns:
        What cuts them, and a remark where CLIP's tokenizer stands in for an unknown one.
    """
    from workbench.models.clip import ClipTokens, clip_tokenizer
    from workbench.models.loading import caption_tokens

    with loading():
        try:
            tokens = caption_tokens(base, max_tokens)
        except MISTAKES:
            tokens = None
        if tokens is not None:
            return tokens, ""
        return ClipTokens(clip_tokenizer(), max_tokens), text("captions_tokens_guess")
