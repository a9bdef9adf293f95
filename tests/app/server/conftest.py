"""Two servers of one workspace with a run in it: an open one, and one behind a password."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from app_servers import ACCOUNT, serving, visitor

from workbench.app.server import Served
from workbench.workspace.folders import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def open_app(workspace: Workspace) -> Iterator[Served]:
    """On this machine, without a password."""
    with serving(workspace.root) as served:
        yield served


@pytest.fixture(scope="module")
def locked_app(workspace: Workspace) -> Iterator[Served]:
    """Behind a password."""
    with serving(workspace.root, account=ACCOUNT) as served:
        yield served


@pytest.fixture(scope="module")
def run(workspace: Workspace) -> Path:
    """A run folder with a file of each kind."""
    folder = workspace.runs / "mochi"
    for name in ("lora", "samples/step-000010", "checkpoints/step-000010"):
        (folder / name).mkdir(parents=True)
    (folder / "report.html").write_text("<h1>report</h1>")
    (folder / "lora/mochi.safetensors").write_bytes(b"weights")
    (folder / "samples/step-000010/0-1.png").write_bytes(b"\x89PNG")
    (folder / "checkpoints/step-000010/adapter.safetensors").write_bytes(b"state")
    (folder / "events.jsonl").write_text('{"seq": 0}\n')
    (folder / "recipe.toml").write_text('name = "mochi"\n')
    return folder


@pytest.fixture
def guest(locked_app: Served) -> Iterator[httpx.Client]:
    with visitor(locked_app) as client:
        yield client


@pytest.fixture(scope="module")
def owner(locked_app: Served) -> Iterator[httpx.Client]:
    with visitor(locked_app, ACCOUNT) as client:
        yield client


@pytest.fixture
def local(open_app: Served) -> Iterator[httpx.Client]:
    with visitor(open_app) as client:
        yield client
