"""`work`: the process that trains what is queued in a workspace; the app starts it by itself."""

import time
from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.terminal import say


def work(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="the app's workspace.")],
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="gets a JSON object when a run ends.")
    ] = None,
    on_finish: Annotated[
        str | None,
        typer.Option(metavar="CMD", help="run once the queue is empty, to stop a rented machine."),
    ] = None,
) -> None:
    """Train what is queued in a workspace, one run after the other, and end."""
    from workbench.records.lock import RunLocked
    from workbench.workspace.folders import Workspace
    from workbench.workspace.hooks import Hooks
    from workbench.workspace.worker import work as train_all

    def log(text: str) -> None:
        say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    try:
        train_all(Workspace(folder), Hooks(webhook, on_finish), say=log)
    except RunLocked:
        log("another worker is at it")
