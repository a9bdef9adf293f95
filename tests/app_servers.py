"""The server around a page as light as it can be, in the process of the tests."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from workbench.app.security import Account
from workbench.app.server import Door, Served, serve
from workbench.workspace.folders import Workspace

MAX_UPLOAD_BYTES = 1 << 20
ACCOUNT = Account("ann", "correct horse battery")


def light_page() -> Any:
    """As much of a page as a server needs: a handler with a name, and a file input."""
    import gradio as gr

    def shout(words: str) -> str:
        return words.upper()

    with gr.Blocks(analytics_enabled=False) as page:
        words, louder = gr.Textbox(), gr.Textbox()
        gr.Button().click(shout, words, louder, api_name="shout")
        gr.File()
    return page


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(root: Path, **door: Any) -> Iterator[Served]:
    """Serve the light page; what the server changes of this process is put back."""
    cwd, environment = os.getcwd(), dict(os.environ)
    served = None
    try:
        served = serve(
            light_page,
            Workspace(root),
            door=Door(port=free_port(), **door),
            max_upload_bytes=MAX_UPLOAD_BYTES,
        )
        yield served
    finally:
        if served is not None:
            served.close()
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environment)


@contextlib.contextmanager
def visitor(served: Served, account: Account | None = None) -> Iterator[httpx.Client]:
    """A client of the server, logged in where an account is given."""
    with httpx.Client(base_url=served.url, trust_env=False, timeout=30) as client:
        if account is not None:
            given = {"username": account.user, "password": account.password}
            assert client.post("/login", data=given).status_code == 200
        yield client
