"""What all tabs share: the recipe that is being made, the run that is looked at, the workspace."""

import contextlib
import copy
import functools
import html
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import gradio as gr

from workbench import store
from workbench.app.words import text
from workbench.recipe import Recipe
from workbench.records.lock import RunLocked
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace

if TYPE_CHECKING:
    from workbench.checks import Finding
    from workbench.data.dataset import Dataset, DataSettings
    from workbench.workspace.hooks import Hooks

P = ParamSpec("P")
T = TypeVar("T")
# What a user can mend: shown as it is. Anything else is a defect and goes to the log as well.
MISTAKES = (SettingsError, store.FileRefused, RunLocked, OSError)
TICK_S = 2.0
EMPTY = Recipe.preset("critters")
NOT_INDEXED = ("captions", "cache", "holdout")  # of the data settings: not asked for by `index`
FRESH_S = 0.5  # how long what lies in a folder is taken for known
_looked: dict[str, tuple[float, tuple[int, int]]] = {}
_written = [-FRESH_S]  # when the page itself last wrote there
# A dozen tabs ask for the same at once; one of them shall look.
_finding, _checking = threading.Lock(), threading.Lock()
_loading = threading.RLock()


@dataclass(frozen=True, slots=True)
class Options:
    """What was chosen when the app was launched.

    Attributes:
        price_per_hour: of this machine; None does not show a cost.
        currency: sign in front of it.
        webhook: address that is told when a run ends.
        on_finish: command that is run when the queue is empty.
        max_upload_bytes: of one upload.
        open_to_others: more than this machine's own browsers can reach the app.
    """

    price_per_hour: float | None = None
    currency: str = "$"
    webhook: str | None = None
    on_finish: str | None = None
    max_upload_bytes: int = 20 << 30
    open_to_others: bool = False


@dataclass(frozen=True, slots=True)
class Desk:
    """What all tabs share.

    Attributes:
        workspace: where everything lies.
        options: of the launch.
        recipe: the `Recipe` that is being made, None until the page has loaded; a tab that changes
            it sets this state.
        structure: paths of the recipe's settings, which change with a choice of kinds: forms are
            made anew then, and only then.
        edits: rises when captions or masks were written: files change without the recipe changing.
        run: name of the run that Train and Compare look at; "" for none.
        tabs: the row of tabs, to go to another one: `gr.Tabs(selected="train")`.
        tick: this tab's own, beats every two seconds while it is in front and the page visible.
        moved: this tab's own, a `Moved`. What shows the recipe or its files listens to
            `moved.change`: it changes with them while the tab is in front, and whenever it is
            opened. A page has some forty such listeners; those of hidden tabs would take a second.
        beats: this tab's own, one for each of its forms; they change with `moved`.
    """

    workspace: Workspace
    options: Options
    recipe: gr.State
    structure: gr.State
    edits: gr.State
    run: gr.State
    tabs: gr.Tabs
    tick: gr.Timer
    moved: gr.State
    beats: list[gr.State]


class Moved(NamedTuple):
    """What a tab was last told to show.

    Attributes:
        recipe: the recipe.
        edits: what `Desk.edits` held.
        opened: how often the tab was opened: what lies on the disk is looked at anew then.
    """

    recipe: Recipe | None = None
    edits: int = 0
    opened: int = 0


def hooks(options: Options) -> "Hooks":
    """Who is told when a run ends, as the launch has it.

    Args:
        options: of the launch.
    Returns:
        For the worker.
    """
    from workbench.workspace.hooks import Hooks

    return Hooks(webhook=options.webhook, on_finish=options.on_finish)


def saying(action: Callable[P, T]) -> Callable[P, T]:
    """Show a user's mistake in the page, in its own words, instead of failing.

    Args:
        action: a handler.
    Returns:
        The handler, which raises `gr.Error` where the user can mend something.
    """

    @functools.wraps(action)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return action(*args, **kwargs)
        except MISTAKES as error:
            long = store.too_long(error) if isinstance(error, OSError) else ""
            raise gr.Error(
                html.escape(": ".join(filter(None, (str(error), long)))),
                duration=None,
                title=text("page_mistake"),
                print_exception=False,
            ) from None

    return spoken


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Load one model at a time.

    While diffusers loads weights, it changes torch for the whole process: a model that another
    thread makes meanwhile has none. Nor can two threads begin to import it.
    """
    with _loading:
        yield


def findings(recipe: Recipe) -> "list[Finding]":
    """Find a recipe's pitfalls, its pictures among what is looked at.

    Args:
        recipe: what is being made.
    Returns:
        Findings, the worst first.
    """
    asked: Any = recipe  # frozen, so it can be a key
    with _checking:
        return _checked(asked, _stamp(recipe))


@functools.lru_cache(maxsize=8)  # each form of the page asks for the same
def _checked(recipe: Recipe, stamp: object) -> "list[Finding]":
    from workbench import checks

    try:
        dataset = pictures(recipe)
    except MISTAKES:  # the tab Data says what is wrong with them
        dataset = None
    return checks.check(recipe, dataset=dataset)


def pictures(recipe: Recipe) -> "Dataset | None":
    """The recipe's pictures, as the trainer would find them.

    Args:
        recipe: what is being made.
    Returns:
        The dataset; None where the recipe names no pictures.
    Raises:
        SettingsError, FileRefused: they cannot be used.
    """
    if not recipe.data.subsets:
        return None
    # What is changed most often changes nothing about what is found, and indexing takes its time.
    usual: dict[str, Any] = {name: getattr(EMPTY.data, name) for name in NOT_INDEXED}
    usual["subsets"] = tuple(one.model_copy(update={"trigger": ""}) for one in recipe.data.subsets)
    looked_for: Any = recipe.data.model_copy(update=usual)  # frozen, so it can be a key
    with _finding:
        found = _indexed(looked_for, _stamp(recipe))
    dataset = copy.copy(found)
    dataset.settings = recipe.data
    return dataset


@functools.lru_cache(maxsize=16)
def _indexed(data: "DataSettings", stamp: object) -> "Dataset":
    from workbench.data.dataset import index

    return index(data)


def _stamp(recipe: Recipe) -> tuple[object, ...]:
    """Changes when a file in the pictures' folders is added, removed or written to."""
    return tuple(map(_newest, (subset.path for subset in recipe.data.subsets)))


def _newest(path: str) -> tuple[int, int]:
    """Looked up once for all who ask after one change: 500 files take 8 ms."""
    now = time.monotonic()
    when, found = _looked.get(path, (-FRESH_S, (0, 0)))
    if now - when >= FRESH_S or when <= _written[0]:
        found = _look_up(Path(path).expanduser())
        _looked[path] = (now, found)
    return found


def _look_up(place: Path) -> tuple[int, int]:
    if not place.is_dir():
        return (0, place.stat().st_mtime_ns) if place.exists() else (0, 0)
    times = [file.stat().st_mtime_ns for file in place.rglob("*") if not file.name.startswith(".")]
    return len(times), max(times, default=0)


def written(edits: int) -> int:
    """Say that captions or masks were written, so that every tab looks at them anew.

    Args:
        edits: what `Desk.edits` held.
    Returns:
        What it holds from now on.
    """
    _written[0] = time.monotonic()
    return edits + 1


def file_link(run: str, path: str) -> str:
    """Where the browser finds a file of a run; the route checks the login and the path.

    Args:
        run: name of the run.
        path: relative to the run folder.
    Returns:
        A relative address.
    """
    return f"workbench/file/{urllib.parse.quote(run)}/{urllib.parse.quote(path)}"


def saved_as(name: str, media_type: str) -> str:
    """Let the browser make a file of a text, so that the server gives no folder away for it.

    Args:
        name: of the file.
        media_type: such as "text/csv".
    Returns:
        JavaScript for an event whose input is the text.
    """
    return f"""(words) => {{
  if (!words) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([words], {{type: "{media_type}"}}));
  link.download = "{name}";
  link.click();
}}"""


def same_as(desk: Desk, python: Callable[[Recipe], str], shell: Callable[[Recipe], str]) -> None:
    """Show how an action is spelled in the other faces, folded away.

    Args:
        desk: the desk.
        python: the line of Python, for a recipe.
        shell: the command line, for a recipe.
    """
    from workbench.app.words import label

    with gr.Accordion(label("page_same"), open=False) as fold:
        code = gr.Code(language="python", label=label("page_python"), interactive=False)
        command = gr.Code(language="shell", label=label("page_shell"), interactive=False)
        toml = gr.Code(label=label("page_recipe"), interactive=False, max_lines=24)

    def show(recipe: Recipe) -> tuple[str, str, str]:
        return python(recipe), shell(recipe), recipe.to_toml(comments=False)

    outputs: Sequence[Any] = [code, command, toml]
    # Only an open fold is filled: TOML of a whole recipe costs some 20 ms.
    gr.on([fold.expand], show, desk.recipe, outputs, **QUIETLY)


# No spinner. Gradio 6.31 keeps a status for each output even of hidden progress, and at each turn
# of any event looks all of them up in the whole page, which took a browser seconds a change.
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": []}
# For what happens by itself: no spinner, no queue behind slow work, no name in the API.
QUIETLY: dict[str, Any] = HIDDEN | {
    "concurrency_limit": None,
    "api_visibility": "private",
}
# The same past the queue: for what only shows something. Of an answer that came so, Gradio 6.31
# tells nobody that it changed a state.
AT_ONCE: dict[str, Any] = QUIETLY | {"queue": False}
# As `js` of what nobody waits for: what is looked at shall have server and browser to itself.
LATER = "(...values) => new Promise((done) => setTimeout(() => done(values), 250))"
# For `gr.render`. One at a time: Gradio 6.31 walks through a session's components while another
# render adds its own, and then the form of one of them stays empty.
MADE_ANEW: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_id": "render",
    "concurrency_limit": 1,
}
