"""The base model: what ships, what lies in the workspace, what is fetched from elsewhere.

A token goes from its box into the server's memory, to the one host that is asked, and is forgotten.
"""

import functools
import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from workbench.app import following
from workbench.app.desk import AT_ONCE, HIDDEN, MISTAKES, QUIETLY, Desk, saying
from workbench.app.form import form, mistake
from workbench.app.words import label, text
from workbench.models.source import BUILT_IN, is_critters, is_remote
from workbench.recipe import Recipe
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from workbench.models.base import BaseSettings
    from workbench.workspace.hub import Found


def build(desk: Desk) -> None:
    """Make this part of the tab.

    Args:
        desk: what all tabs share.
    """
    with gr.Accordion(label("data_models"), open=False, elem_id="models"):
        gr.Markdown(label("data_models_lead"), elem_classes="lead")
        about = gr.HTML(elem_id="model-about")
        with gr.Row(equal_height=True):
            here = gr.Dropdown([], label=label("data_model_here"), elem_id="model-here", scale=3)
            use = gr.Button(label("data_model_use"), min_width=160, scale=1, elem_id="model-use")
        name = gr.Textbox(
            label=label("data_model_name"), info=label("data_model_name_info"),
            max_length=2000, elem_id="model-name",
        )  # fmt: skip
        token = gr.Textbox(
            label=label("data_token"), info=label("data_token_info"), type="password",
            max_length=500, elem_id="model-token",
            html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
        )  # fmt: skip
        # Only the server's memory holds these: a State is never written to a disk or sent out.
        found, secret = gr.State(None), gr.State("")
        look = gr.Button(label("data_model_look"), elem_id="model-look")
        told = gr.HTML(elem_id="model-told")
        with gr.Row():
            go = gr.Button(
                label("data_model_fetch"), variant="primary", interactive=False,
                elem_id="model-fetch",
            )  # fmt: skip
            stop = gr.Button(label("data_model_stop"), elem_id="model-stop")
        with gr.Accordion(label("data_model_more"), open=False):
            form(desk, lambda entry: entry.path.startswith("base."))

    private: dict[str, Any] = {"api_visibility": "private"}
    desk.moved.change(_list(desk), desk.recipe, [about, here], **AT_ONCE)
    use.click(saying(_use), [desk.recipe, here], desk.recipe, **private)
    # The box is emptied first, so that no failure leaves the token in it.
    gr.on([look.click, name.submit], _take, [token, secret], [token, secret], **QUIETLY).then(
        functools.partial(_look, desk), [name, secret], [told, found, go], **private
    )
    working = go.click(
        functools.partial(_fetch, desk), [desk.recipe, found, secret],
        [told, desk.recipe, secret, go], concurrency_id="fetching", concurrency_limit=2,
        **HIDDEN, **private,
    )  # fmt: skip
    stop.click(lambda: "", None, secret, cancels=[working], **private)


def _take(typed: str, kept: str) -> tuple[str, str]:
    """Empty the box into the server's memory."""
    return "", typed.strip() or kept


def _list(desk: Desk) -> Any:
    def show(recipe: Recipe) -> tuple[str, Any]:
        from workbench.workspace.hub import have

        among = [(text(f"data_model_{name.replace('-', '_')}"), name) for name in BUILT_IN]
        among += [
            (f"{model.name} ({_size(model.num_bytes)})", str(model.path))
            for model in have(desk.workspace)
        ]
        base: Any = recipe.base  # frozen, so it can be a key
        known = dict(among).values()
        shipped = is_critters(base.path) and base.path not in known
        value = "critters" if shipped else base.path if base.path in known else None
        path = Path(base.path).expanduser()
        stamp = path.stat().st_mtime if path.exists() else 0.0
        about = _about(base, stamp) + following.standing(recipe, stamp)
        return about, gr.Dropdown(among, value=value)

    return show


@functools.lru_cache(maxsize=8)
def _about(base: "BaseSettings", stamp: float) -> str:
    """What the recipe starts from, from headers and configs alone."""
    from workbench.models import loading

    path = Path(base.path).expanduser()
    if is_remote(base.path):
        return _facts({"data_model_now": base.path, "data_model_kind": text("data_model_remote")})
    try:
        source = loading.locate(base)
        said = loading.module(source.family).describe(source, base)
    except MISTAKES as error:
        return mistake(str(error))
    kind = text("data_kind_critters") if is_critters(base.path) else source.title
    return _facts(
        {
            "data_model_now": path.name,
            "data_model_kind": kind,
            "data_model_px": text("data_model_square", px=said.native_px),
            "data_model_predicts": said.prediction,
        }
    )


def _facts(pairs: dict[str, str]) -> str:
    rows = "".join(
        f"<div><dt>{html.escape(text(key))}</dt><dd>{html.escape(value)}</dd></div>"
        for key, value in pairs.items()
    )
    return f'<dl class="facts">{rows}</dl>'


def _use(recipe: Recipe, path: str | None) -> Recipe:
    if not path:
        raise SettingsError(text("data_model_none"))
    return following.changed(recipe, [f"base.path={json.dumps(path, ensure_ascii=False)}"])


def _look(desk: Desk, name: str, secret: str) -> tuple[str, Any, Any]:
    """Say what a name leads to: nothing is fetched."""
    from workbench.workspace.hub import look_up

    try:
        found = look_up(
            desk.workspace,
            name,
            token=secret or None,
            public_only=desk.options.open_to_others,
        )
    except MISTAKES as error:
        return mistake(str(error)), None, gr.Button(interactive=False)
    return _describe(found), found, gr.Button(interactive=True)


def _describe(found: "Found") -> str:
    size = found.num_bytes
    pairs = {
        "data_model_name_short": found.name,
        "data_model_files": f"{len(found.files):,}",
        "data_model_size": text("data_unknown") if size is None else _size(size),
        "data_model_free": _size(found.free_bytes),
        "data_model_licence": found.licence or text("data_unknown"),
        "data_model_place": found.target.name,
    }
    notes = [text("data_model_gated")] * found.gated + [text("data_model_is_here")] * found.is_here
    said = "".join(f'<div class="finding note">{html.escape(note)}</div>' for note in notes)
    return _facts(pairs) + said


def _fetch(
    desk: Desk, recipe: Recipe, found: "Found | None", secret: str
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Fetch what was looked up, and start from it."""
    from workbench.workspace.fetching import fetch

    if found is None:
        raise gr.Error(text("data_model_look_first"), print_exception=False)
    off, same = gr.Button(interactive=False), gr.skip()
    yield _bar(0, found.num_bytes), same, same, off
    steps = fetch(desk.workspace, found, token=secret or None)
    path = found.target
    while True:
        try:
            now = next(steps, None)
        except MISTAKES as error:
            yield mistake(str(error)), same, "", gr.Button(interactive=True)
            return
        if now is None:
            break
        path = now.path or path
        yield _bar(now.done, now.total), same, same, same
    done = text("data_model_done", name=path.name)
    told = f'<div class="tokens good" role="status">{html.escape(done)}</div>'
    yield told, _use(recipe, str(path)), "", off


def _bar(done: int, total: int | None) -> str:
    share = 100 * done / total if total else 0
    said = text("data_model_progress", done=_size(done), total=_size(total) if total else "?")
    return (
        f'<div class="tokens" role="status"><div class="meter"><i style="width:{share:.0f}%"></i>'
        f"</div><span>{html.escape(said)}</span></div>"
    )


def _size(num_bytes: int) -> str:
    if num_bytes < 1e6:
        return f"{num_bytes / 1e3:.0f} kB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:.2f} GB"
