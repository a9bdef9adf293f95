"""Forms made of a recipe's own settings: type, bounds, unit and help come from their declaration.

What `check` finds, and what does not fit, stands right below the setting that it is about.
"""

import functools
import html
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from workbench.app import following
from workbench.app.desk import AT_ONCE, MADE_ANEW, QUIETLY, Desk, Moved, findings
from workbench.app.words import label, text
from workbench.checks import Finding
from workbench.recipe import Recipe
from workbench.settings import Entry, SettingsError, walk

Chooser = Callable[[Entry], bool]


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting in a form: its entry, the component that holds it, what is said below it."""

    entry: Entry
    component: Any
    below: gr.HTML


def form(desk: Desk, chosen: Chooser) -> None:
    """Show the settings that a tab is about; the form follows the recipe, and changes it.

    Args:
        desk: the desk.
        chosen: picks the settings; those of a kind that is chosen later are picked as well.
    """
    beat = gr.State(0)
    desk.beats.append(beat)

    # The settings themselves change with a choice of kinds, and only then is the form made anew.
    @gr.render(inputs=desk.recipe, triggers=[desk.structure.change], **MADE_ANEW)
    def show(recipe: Recipe) -> None:
        shown = _arrange(recipe, [entry for entry in walk(recipe) if chosen(entry)])
        _wire(desk, shown)
        _follow(desk, shown, beat)


_WIDE = ("words", "text", "tables")


def structure(recipe: Recipe) -> tuple[str, ...]:
    """What decides which settings there are to show.

    Args:
        recipe: the recipe.
    Returns:
        The paths of all settings.
    """
    asked: Any = recipe  # frozen, so it can be a key
    return _structure(asked)


@functools.lru_cache(maxsize=64)
def _structure(recipe: Recipe) -> tuple[str, ...]:
    return tuple(entry.path for entry in walk(recipe))


def _arrange(recipe: Recipe, entries: Sequence[Entry]) -> list[Shown]:
    """Narrow settings stand side by side, prompts and other texts over the whole width."""
    shown: list[Shown] = []
    paths = [entry.path for entry in entries]
    said = dict(zip(paths, _by_setting(findings(recipe), paths), strict=True))
    for wide, group in itertools.groupby(entries, lambda entry: entry.control in _WIDE):
        with gr.Column() if wide else gr.Row():
            for entry in group:
                with gr.Column(min_width=160, scale=1):
                    shown.append(_show(entry, said[entry.path]))
    return shown


def _show(entry: Entry, said: str) -> Shown:
    below = gr.HTML(said, visible=bool(said), elem_classes="below")
    return Shown(entry, component(entry), below)


def component(entry: Entry) -> Any:
    """Make a component that can hold a setting, with all that is known about it.

    Args:
        entry: the setting.
    Returns:
        A Gradio component.
    """
    info = entry.help + (
        f" ({', '.join(x for x in (entry.unit, entry.bounds) if x)})"
        * bool(entry.unit or entry.bounds)
    )
    # A form that is made anew shows what is true now, not what stood there before.
    common: dict[str, Any] = {"key": entry.path, "preserved_by_key": []}
    # Said, not left to Gradio: what a form made anew also shows, it takes for read-only.
    common["interactive"] = True
    common |= {"label": _name(entry.path), "info": info, "min_width": 140}
    if entry.control == "presence" or (entry.control == "toggle" and not entry.optional):
        return gr.Checkbox(value=bool(entry.value), **common)
    if entry.control in ("choice", "toggle"):
        among: list[tuple[str, Any]] = [(str(choice), choice) for choice in entry.choices]
        if entry.control == "toggle":  # left to the rest of the recipe, or decided
            among = [(text("form_yes"), True), (text("form_no"), False)]
        if entry.optional:
            among.insert(0, (text("page_automatic"), None))
        return gr.Dropdown(among, value=entry.value, **common)
    if entry.control in ("whole", "number"):
        # Without bounds: Gradio would refuse what is outside in a notice, not below the setting.
        return gr.Number(
            value=entry.value,
            precision=0 if entry.control == "whole" else None,
            placeholder=text("page_automatic") if entry.optional else None,
            **common,
        )
    lines = max(2, min(8, len(entry.value or ()))) if entry.control == "words" else 1
    placeholder = text("page_automatic") if entry.optional else None
    return gr.Textbox(
        value=_as_text(entry), lines=lines, max_lines=12, placeholder=placeholder, **common
    )


def _name(path: str) -> str:
    """`data.subsets.0.path` reads better as `subset 1 path`."""
    parts = [f"{int(part) + 1}" if part.isdecimal() else part for part in path.split(".")]
    kept = parts if len(parts) == 1 else parts[1:] if parts[0] == "data" else parts
    return " ".join(kept).replace("_", " ")


def _as_text(entry: Entry) -> str:
    if entry.control == "words":
        return "\n".join(entry.value or ())
    if entry.control == "numbers":
        return ", ".join(f"{number:g}" for number in entry.value or ())
    return "" if entry.value is None else str(entry.value)


def from_form(entry: Entry, value: Any) -> str:
    """What stands in a setting's component, as `override` takes it.

    Args:
        entry: the setting.
        value: what the component holds.
    Returns:
        For example `adapter.rank=8`.
    """
    if entry.control == "words":
        lines = [line.strip() for line in str(value or "").splitlines() if line.strip()]
        return entry.assignment(lines if lines or not entry.optional else None)
    if entry.control == "numbers":
        return f"{entry.path}=[{value or ''}]"
    return entry.assignment(value)


def _wire(desk: Desk, shown: Sequence[Shown]) -> None:
    """Let each component change the recipe, or say below it why it cannot."""
    paths = tuple(one.entry.path for one in shown)
    for one in shown:
        take = functools.partial(_take, one.entry, paths)
        typed = isinstance(one.component, gr.Textbox | gr.Number)
        events = [one.component.submit, one.component.blur] if typed else [one.component.input]
        gr.on(
            events,
            take,
            [desk.recipe, desk.moved, one.component],
            [desk.recipe, desk.moved, one.below],
            key=f"take {one.entry.path}",
            **QUIETLY,
        )


def _take(
    entry: Entry, paths: Sequence[str], recipe: Recipe, moved: Moved, value: Any
) -> tuple[Any, Any, Any]:
    """The recipe as changed; its own tab is told at once, others when they are opened."""
    try:
        changed = following.changed(recipe, [from_form(entry, value)])
    except SettingsError as error:
        return gr.skip(), gr.skip(), gr.HTML(mistake(str(error)), visible=True)
    said = dict(zip(paths, _by_setting(findings(changed), paths), strict=True))[entry.path]
    below = gr.HTML(said, visible=bool(said))  # in place of a mistake that is mended now
    if changed == recipe:
        return gr.skip(), gr.skip(), below
    return changed, moved._replace(recipe=changed), below


def _follow(desk: Desk, shown: Sequence[Shown], beat: gr.State) -> None:
    """Show what another tab changed, and what the checks find, below the settings.

    One render alone may listen to `beat`: Gradio 6.31 forgets all other listeners of an event once
    a render listens to it as well.
    """
    parts = [part for one in shown for part in (one.component, one.below)]
    paths = [one.entry.path for one in shown]

    def look(recipe: Recipe, last: Sequence[Any]) -> list[Any]:
        """What is as it was is not sent: a browser takes its time for each."""
        now = {entry.path: entry for entry in walk(recipe)}
        said = _by_setting(findings(recipe), paths)
        stands: list[Any] = []
        for one, words in zip(shown, said, strict=True):
            stands += [_value(now.get(one.entry.path, one.entry)), words]
        told = list(
            map(_told, stands, last or [None] * len(stands), itertools.cycle((False, True)))
        )
        return [*told, stands]

    if shown:
        last = gr.State(())
        beat.change(look, [desk.recipe, last], [*parts, last], **AT_ONCE)


def _told(now: Any, last: Any, is_below: bool) -> Any:
    if now == last:
        return gr.skip()
    return gr.HTML(now, visible=bool(now)) if is_below else now


def _value(entry: Entry) -> Any:
    if entry.control in ("words", "numbers", "text", "tables"):
        return _as_text(entry)
    return bool(entry.value) if entry.control == "presence" else entry.value


def _by_setting(found: Sequence[Finding], paths: Sequence[str]) -> list[str]:
    """What is said below each setting: findings about it, or about the group that it opens."""
    said = dict.fromkeys(paths, "")
    for finding in found:
        if finding.setting in said:
            said[finding.setting] += as_html(finding)
        else:
            home = next((p for p in paths if p.startswith(f"{finding.setting}.")), None)
            if home is not None:
                said[home] += as_html(finding)
    return [said[path] for path in paths]


def as_html(finding: Finding) -> str:
    """A finding as it stands in the page.

    Args:
        finding: of `checks.check`.
    Returns:
        HTML, everything in it escaped.
    """
    severity = finding.rule.severity
    return (
        f'<div class="finding {severity}"><b>{text(f"form_{severity}")}:</b> '
        f"{html.escape(finding.reason)}. "
        f"<span>{html.escape(text('form_fix', fix=finding.fix))}</span></div>"
    )


def mistake(message: str) -> str:
    """Something typed that does not fit, as it stands below its setting.

    Args:
        message: of a `SettingsError`.
    Returns:
        HTML, everything in it escaped.
    """
    return f'<div class="finding mistake">{html.escape(message)}</div>'


def every_setting(desk: Desk) -> None:
    """Show all settings of the recipe, a section at a time, folded away.

    Args:
        desk: the desk.
    """
    with gr.Accordion(label("form_all"), open=False):
        gr.Markdown(label("form_all_help"), elem_classes="lead")
        sections = [name for name in Recipe.model_fields if name not in ("name",)]
        section = gr.Dropdown(sections, value="adapter", label=label("form_section"))
        beat = gr.State(0)
        desk.beats.append(beat)

        @gr.render(
            inputs=[desk.recipe, section],
            triggers=[desk.structure.change, section.change],
            **MADE_ANEW,
        )
        def show(recipe: Recipe, name: str) -> None:
            entries = [e for e in walk(recipe) if e.path.split(".")[0] == name]
            shown = _arrange(recipe, entries)
            _wire(desk, shown)
            _follow(desk, shown, beat)
