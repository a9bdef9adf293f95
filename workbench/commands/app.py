"""`app`: the page, on this machine or, with a password, for others."""

import contextlib
import gc
import os
import signal
import sys
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.terminal import complain, say

if TYPE_CHECKING:
    import gradio as gr

    from workbench.app.security import Account
    from workbench.app.server import Door, Served
    from workbench.workspace.folders import Workspace

PASSWORD_VARIABLE = "WORKBENCH_AUTH"

Folder = Annotated[Path, typer.Argument(metavar="[WORKSPACE]", help="folder that holds all state.")]
Port = Annotated[int | None, typer.Option(help="port; by default 7860 or the next free one.")]
Listen = Annotated[bool, typer.Option("--listen", help="let other machines of the network in.")]
Share = Annotated[
    bool, typer.Option("--share", help="open a public link through Gradio's servers.")
]
Auth = Annotated[
    str | None,
    typer.Option(
        metavar="USER:PASSWORD",
        help="who may come in. Others see it in the list of processes: --auth-file is better, "
        f"or the variable {PASSWORD_VARIABLE}.",
    ),
]
AuthFile = Annotated[Path | None, typer.Option(help="file with USER:PASSWORD in its first line.")]
RootPath = Annotated[
    str, typer.Option(help="where a reverse proxy shows the app: a path or a whole address.")
]
Price = Annotated[float | None, typer.Option(min=0.0, help="of this machine, to show costs.")]
Currency = Annotated[str, typer.Option(help="sign before a price.")]
Webhook = Annotated[
    str | None, typer.Option(metavar="URL", help="is told by POST when a run ends.")
]
OnFinish = Annotated[
    str | None,
    typer.Option(
        metavar="CMD", help="runs when the queue is empty: to stop a rented machine, say."
    ),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="open no browser window.")]
MaxUpload = Annotated[float, typer.Option(min=0.001, help="of one upload.")]


def app(
    workspace: Folder = Path("workbench-workspace"),
    port: Port = None,
    listen: Listen = False,
    share: Share = False,
    auth: Auth = None,
    auth_file: AuthFile = None,
    root_path: RootPath = "",
    price_per_hour: Price = None,
    currency: Currency = "$",
    webhook: Webhook = None,
    on_finish: OnFinish = None,
    no_browser: NoBrowser = False,
    max_upload_gib: MaxUpload = 20.0,
) -> None:
    """Open the workbench in a browser: data, captions, noise, training, comparison."""
    from workbench.app.server import Door, serve
    from workbench.workspace.folders import Workspace
    from workbench.workspace.hooks import Hooks
    from workbench.workspace.spawning import ensure_worker

    hooks = Hooks(webhook, on_finish)  # refuses what would fail after hours of training
    place, account = Workspace(workspace), _account(auth, auth_file)
    door = Door(
        host="0.0.0.0" if listen else "127.0.0.1",
        port=port,
        share=share,
        root_path=root_path,
        account=account,
    )
    max_upload_bytes = int(max_upload_gib * 2**30)

    def make() -> "gr.Blocks":
        from workbench.app.desk import Options
        from workbench.app.page import build

        options = Options(
            price_per_hour=price_per_hour,
            currency=currency,
            webhook=webhook,
            on_finish=on_finish,
            max_upload_bytes=max_upload_bytes,
            open_to_others=door.open_to_others,
        )
        return build(place, options)

    with _garbage_left():
        served = serve(make, place, door=door, max_upload_bytes=max_upload_bytes)
    ensure_worker(place, hooks)  # something may have been queued when the machine went down
    _announce(served, door, place, chosen=account is not None)
    if not no_browser and not door.open_to_others and _has_browser():
        webbrowser.open(served.url)
    _stay(served, place)


@contextlib.contextmanager
def _garbage_left() -> Iterator[None]:
    """What is imported holds no garbage, and looking for it is a sixth of the start."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _account(auth: str | None, auth_file: Path | None) -> "Account | None":
    from workbench.app.security import Account
    from workbench.settings import SettingsError
    from workbench.store import shown

    # Out of the environment, which trainings inherit.
    given = os.environ.pop(PASSWORD_VARIABLE, None)
    if auth and auth_file:
        raise SettingsError("give --auth or --auth-file, not both")
    if auth_file:
        with auth_file.expanduser().open(encoding="utf-8") as lines:
            return Account.parse(lines.readline(), source=f"--auth-file {shown(auth_file)}")
    if auth:
        return Account.parse(auth, source="--auth")
    return Account.parse(given, source=PASSWORD_VARIABLE) if given else None


def _announce(served: "Served", door: "Door", place: "Workspace", *, chosen: bool) -> None:
    from workbench.app.server import PORT

    if door.port is None and served.port != PORT:
        say(f"Port {PORT} is taken, so the app took the next free one: {served.port}.")
    say(f"The workbench:  {served.url}", style="bold green")
    if served.share_url:
        say(f"Public link:    {served.share_url}")
    elif door.share:
        complain(
            "The public link could not be made: Gradio's servers were not reached. The app runs "
            "without one."
        )
    if door.account is not None:
        say(f"User:           {door.account.user}")
        if not chosen:
            say(f"Password:       {door.account.password}")
            say("                made for this start, shown once and kept nowhere", style="dim")
    say(f"Workspace:      {place.root}")
    if not door.open_to_others:
        tunnel = f"ssh -L {served.port}:127.0.0.1:{served.port} USER@MACHINE"
        say(f"On a rented machine, run `{tunnel}` at home and open the address there.")
    say("Ctrl-C ends the app; trainings go on.")
    sys.stdout.flush()


def _has_browser() -> bool:
    """Whether a window can open here, and not a text browser in this very terminal."""
    if "SSH_CONNECTION" in os.environ:
        return False
    shows = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(name in os.environ for name in shows)


def _stay(served: "Served", place: "Workspace") -> None:
    """Wait for Ctrl-C or SIGTERM; nothing that runs here is waited for."""
    from workbench.app.page import warm
    from workbench.workspace.overview import overview

    ended = 130

    def terminate(number: int, frame: object) -> None:
        nonlocal ended
        ended = 143
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    warm()
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        active = [one.name for one in overview(place) if one.job is not None and one.job.alive]
        say()
        if active:
            say(f"Training goes on without the app: {', '.join(active)}. Start it again to look.")
        served.hang_up()
        say("The app has ended.")
        sys.stdout.flush()
    # Leaving as usual waits for open pages, and for a thread that may be drawing a picture.
    os._exit(ended)
