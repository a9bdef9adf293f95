"""The server around a light page in the process of the tests, and the real app as its own."""

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from workbench.app.security import Account
from workbench.app.server import Door, Served, serve
from workbench.workspace.folders import Workspace

MAX_UPLOAD_BYTES = 1 << 20
START_S = 120.0  # on a machine that does other work too
ACCOUNT = Account("ann", "correct horse battery")
JOIN = {"data": ["hello"], "fn_index": 0, "session_hash": "s", "event_data": None}


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


def raw_get(served: Served, target: str, *, cookie: str = "") -> tuple[int, bytes]:
    """GET an address exactly as written: clients tidy `..` up before they ask."""
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nConnection: close\r\n"
    head += f"Cookie: {cookie}\r\n" if cookie else ""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as line:
        line.sendall(f"{head}\r\n".encode("latin-1"))
        answer = b"".join(iter(lambda: line.recv(1 << 16), b""))
    return int(answer.split()[1]), answer.partition(b"\r\n\r\n")[2]


def cookies_of(client: httpx.Client) -> str:
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)


@dataclass
class App:
    """A running `workbench app`.

    Attributes:
        url: where.
        workspace: its folder.
        lines: what it has printed.
    """

    url: str
    workspace: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


def start_app(workspace: Path, *arguments: str, port: int | None = None, **environment: str) -> App:
    """Start the app; returns once it has said that it is there."""
    port = port or free_port()
    command = [sys.executable, "-m", "workbench", "app", str(workspace), "--no-browser"]
    process = subprocess.Popen(
        [*command, "--port", str(port), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        start_new_session=True,
    )
    app = App(f"http://127.0.0.1:{port}", workspace, process)
    said: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(app, said), daemon=True).start()
    end = time.monotonic() + START_S
    try:
        while (line := said.get(timeout=max(0.1, end - time.monotonic()))) is not None:
            if line.startswith("Ctrl-C"):
                return app
    except queue.Empty:
        process.kill()
    raise AssertionError(f"the app did not start in {START_S:.0f} s: " + "".join(app.lines))


def _listen(app: App, said: "queue.Queue[str | None]") -> None:
    assert app.process.stdout is not None
    for line in app.process.stdout:
        app.lines.append(line)
        said.put(line)
    said.put(None)
