"""Lets the page out to the network: an address, a gate before it, and nothing it must not show.

`launch()` reads a dozen environment variables, and in Colab it opens a public link by itself. Here
the arguments alone decide, and whatever others can reach has a password.
"""

import contextlib
import html
import inspect
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from workbench.app.security import Account, Gate
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace

if TYPE_CHECKING:
    import gradio as gr

PORT = 7860
PORTS_TRIED = 100
EVERYWHERE = "0.0.0.0"
MAX_UPLOAD_BYTES = 20 << 30
# Gradio deletes what pages left behind: looks once an hour for files older than a day.
DELETE_CACHE_S = (3600, 86400)
QUEUE_SLEEP_S, PROGRESS_SLEEP_S = 0.02, 0.1
MAX_SESSIONS = 64  # whose state is kept; the oldest tab beyond them begins anew

# What `launch()` would otherwise decide from the environment, or leave open.
_FIXED: dict[str, Any] = {
    "prevent_thread_lock": True,
    "inline": False,
    "inbrowser": False,
    "quiet": True,
    "show_error": True,  # in the page: who has come in may read it
    "run_history": False,
    "ssr_mode": False,
    "pwa": False,
    "mcp_server": False,
    "enable_monitoring": False,
    "strict_cors": True,
    "num_workers": 0,
    "state_session_capacity": MAX_SESSIONS,
    "footer_links": [],
}


@dataclass(frozen=True, slots=True)
class Door:
    """Where the app can be reached, and by whom.

    Attributes:
        host: network address to listen at.
        port: None takes 7860 or the next free one; a given one must be free.
        share: also open a public link through Gradio's servers.
        root_path: where a reverse proxy shows the app: `/lora`, or `https://example.com/lora`.
        account: who may come in; None lets everyone in who reaches it, and where others can, a
            password is made.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    root_path: str = ""
    account: Account | None = None

    def __post_init__(self) -> None:
        if self.port is not None and not 1 <= self.port <= 65535:
            raise SettingsError(f"--port must be from 1 to 65535, got {self.port}")
        parts = urlsplit(self.root_path)
        whole = parts.scheme in ("http", "https") and parts.hostname
        if self.root_path and not whole and not (self.root_path[0] == "/" and not parts.netloc):
            raise SettingsError(
                "--root-path must be a path such as /lora or an address such as "
                f"https://example.com/lora, got {self.root_path!r}"
            )
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        if self.account is None and self.open_to_others:
            object.__setattr__(self, "account", Account.make())

    @property
    def open_to_others(self) -> bool:
        """Whether more than this machine's own browsers can reach the app."""
        own = self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")
        return self.share or bool(self.root_path) or not own


@dataclass(frozen=True, slots=True)
class Served:
    """A running app.

    Attributes:
        url: address on this machine.
        port: the port.
        share_url: the public link; None where none was asked for, or it could not be made.
        page: the page that is shown.
    """

    url: str
    port: int
    share_url: str | None
    page: "gr.Blocks" = field(repr=False)

    def hang_up(self) -> None:
        """End the public link, whose program would live on."""
        from gradio import tunneling

        for tunnel in tunneling.CURRENT_TUNNELS:
            with contextlib.suppress(OSError):
                tunnel.kill()

    def close(self) -> None:
        """Stop, when open pages have been told; that takes up to 5 s."""
        self.hang_up()
        self.page.close(verbose=False)


def serve(
    make: Callable[[], "gr.Blocks"],
    workspace: Workspace,
    *,
    door: Door,
    max_upload_bytes: int = MAX_UPLOAD_BYTES,
) -> Served:
    """Start the app and return; it runs in a thread of its own.

    The process moves into an empty folder, since Gradio serves what lies under the current one.

    Args:
        make: makes the page; called after the environment is set, so that it may import Gradio.
        workspace: holds all state, Gradio's own files included.
        door: where to listen, and who may come in.
        max_upload_bytes: of one upload.
    Returns:
        The running app.
    Raises:
        SettingsError: the port is taken.
    """
    port = free_port(door)
    _settle_environment(workspace, behind_proxy=bool(door.root_path))
    _import_gradio()
    from starlette.middleware import Middleware

    from workbench.app import routes, theme
    from workbench.app.words import translations

    page = make()
    _settle_page(page)
    own = routes.routes(workspace, max_upload_bytes=max_upload_bytes)
    origins: set[str] = set()
    gate = Middleware(
        Gate,
        locked=door.account is not None,
        root_path=door.root_path,
        max_upload_bytes=max_upload_bytes + (1 << 20),  # a form's boundaries and names
        origins=origins,
    )
    page.launch(
        **_FIXED,
        server_name=door.host,
        server_port=port,
        share=door.share,
        root_path=door.root_path,
        auth=door.account.matches if door.account is not None else None,
        auth_message=_login_words(),
        max_file_size=max_upload_bytes,
        allowed_paths=[str(workspace.thumbnails)],
        blocked_paths=_blocked(workspace),
        theme=theme.theme(),
        css=theme.css(),
        i18n=translations(),
        app_kwargs={"middleware": [gate], "routes": own},
    )
    origins.update(filter(None, [page.share_url]))
    return Served(f"http://{_shown(door.host)}:{port}", port, page.share_url or None, page)


def _settle_page(page: "gr.Blocks") -> None:
    """What a page leaves behind, what it tells of itself, and what it costs with nobody there."""
    page.delete_cache = page.delete_cache or DELETE_CACHE_S
    for function in page.fns.values():  # a page tells its functions' names even before the login
        function.api_visibility = "private"
    # Its own is a look for events each millisecond: 3 % of a core.
    page._queue.sleep_when_free = QUEUE_SLEEP_S
    page._queue.progress_update_sleep_when_free = PROGRESS_SLEEP_S


def _import_gradio() -> None:
    """Import Gradio without what it does for its own developers.

    At each import Gradio 6.31 reads its own source and writes a .pyi file beside each component,
    which is half of the time that the import takes. Where a class has no source, it leaves it.
    """
    found = inspect.getfile

    def without_source(thing: Any) -> str:
        frame = inspect.currentframe()
        asking = frame.f_back.f_code.co_name if frame and frame.f_back else ""
        if asking == "create_or_modify_pyi":
            raise OSError("no stub is wanted")
        return found(thing)

    inspect.getfile = without_source
    try:
        import gradio  # noqa: F401
    finally:
        inspect.getfile = found


def _login_words() -> str:
    """What stands above the login, and what tells of too many tries; HTML.

    The page runs no script that it inserts, but tells of a picture that cannot be shown.
    """
    from workbench.app.words import text

    script = resources.files("workbench.app").joinpath("login.js").read_text(encoding="utf-8")
    words = html.escape(text("page_login_wait"), quote=True)
    return (
        f"{html.escape(text('page_login'))}"
        f'<p id="login-wait" role="alert" data-words="{words}" hidden></p>'
        f'<img alt="" src="data:," hidden onerror="{html.escape(script, quote=True)}">'
    )


def free_port(door: Door) -> int:
    """Find the port to listen at.

    Args:
        door: names it, or leaves the choice.
    Returns:
        The given one, or the first free one from 7860 on.
    Raises:
        SettingsError: the given one, or every one of a hundred, is taken.
    """
    ports = range(PORT, PORT + PORTS_TRIED) if door.port is None else [door.port]
    for port in ports:
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                attempt.bind((door.host, port))
                return port
    if door.port is None:
        raise SettingsError(f"every port from {PORT} to {ports[-1]} is taken; give one by --port")
    raise SettingsError(
        f"--port {door.port} is taken, perhaps by another `workbench app`; give another one, or "
        "leave --port out and the next free one is taken"
    )


def _settle_environment(workspace: Workspace, *, behind_proxy: bool) -> None:
    """Let no variable open what the arguments keep shut, and keep Gradio's files in the workspace.

    Must come before Gradio is imported: it reads some of them once.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    empty, cache = _folder(workspace.cache / "empty"), _folder(workspace.cache / "page")
    os.environ.update(
        GRADIO_ANALYTICS_ENABLED="False",
        # Each event would end in a summary by pandas of the last ten thousand, for nobody to read.
        GRADIO_ANALYTICS_MAX_EVENTS="1",
        GRADIO_ANALYTICS_CACHE_FREQUENCY=str(sys.maxsize),
        GRADIO_TEMP_DIR=str(cache),
        GRADIO_EXAMPLES_CACHE=str(cache / "examples"),
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    # Trainings take the same caches: what a page has encoded need not be encoded again.
    os.environ.setdefault("WORKBENCH_HOME", str(workspace.root))
    if not behind_proxy:  # nobody then may say in whose name he asks
        os.environ["FORWARDED_ALLOW_IPS"] = ""
    for name in ("NO_PROXY", "no_proxy"):  # Gradio asks itself whether it is up
        others = [one for one in os.environ.get(name, "").split(",") if one]
        os.environ[name] = ",".join(dict.fromkeys([*others, "127.0.0.1", "localhost"]))
    os.chdir(empty)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _blocked(workspace: Workspace) -> list[str]:
    """All of the workspace but small pictures and what Gradio itself wrote, and what holds keys."""
    parts = (workspace.runs, workspace.data, workspace.models, workspace.recipes, workspace.queue)
    home = Path.home()
    keys = (home / ".ssh", home / ".cache/huggingface", home / ".netrc", home / ".aws")
    return [str(path) for path in (*parts, *keys)]


def _shown(host: str) -> str:
    return "127.0.0.1" if host == EVERYWHERE else host
