"""Models by name or address, from a small server on this machine; and where their token is not."""

import http.server
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy
import pytest
from safetensors.numpy import save

from workbench import store
from workbench.settings import SettingsError
from workbench.store import FileRefused
from workbench.workspace import fetching
from workbench.workspace.fetching import Fetched, fetch
from workbench.workspace.folders import Workspace
from workbench.workspace.hub import have, look_up

TOKEN = "hf_SecretOfTheUser123"
WEIGHTS = save({"x": numpy.zeros(3000, "float32")})
COMMIT = "c" * 40
BASE = {
    "model_index.json": b"{}",
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "README.md": b"# words",
}
REPOSITORIES: dict[str, dict[str, bytes]] = {
    "some/base": BASE,
    "some/gated": BASE,
    "some/lora": {"mochi.safetensors": WEIGHTS, "README.md": b""},
    "some/many": {"a.safetensors": WEIGHTS, "b.safetensors": WEIGHTS},
    "some/pickles": {"model.ckpt": b"pickle", "x.bin": b"pickle"},
    "some/broken": {"mochi.safetensors": b"not at all"},
}


class Hub:
    """Answers as the Hub does, and as any file server; remembers who asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.files: dict[str, bytes] = {"/files/mochi.safetensors": WEIGHTS}
        self.redirects: dict[str, str] = {}
        self.cut_at: int | None = None
        self.tells_size = True
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                return

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: Any) -> None:
        path = urlsplit(request.path).path
        self.asked.append((request.command, path, dict(request.headers)))
        allowed = request.headers.get("Authorization") == f"Bearer {TOKEN}"
        name = "/".join(path.removeprefix("/api/models/").strip("/").split("/")[:2])
        if path in self.redirects:
            self.send(request, 302, b"", Location=self.redirects[path])
        elif path in self.files:
            self.send_file(request, self.files[path])
        elif path == "/page":
            self.send(request, 200, b"<html>", **{"Content-Type": "text/html"})
        elif path == "/closed/x.safetensors":
            self.send(request, 200 if allowed else 401, WEIGHTS if allowed else b"")
        elif name not in REPOSITORIES:
            self.send(request, 404, b"{}", **{"X-Error-Code": "RepoNotFound"})
        elif path.startswith("/api/models/"):
            self.send(request, 200, json.dumps(self.info(name)).encode())
        elif name == "some/gated" and not allowed:
            self.send(request, 403, b"", **{"X-Error-Code": "GatedRepo"})
        else:
            data = REPOSITORIES[name][path.split(f"/resolve/{COMMIT}/")[1]]
            self.send(request, 200, data, ETag=f'"{hash(data)}"', **{"X-Repo-Commit": COMMIT})

    def info(self, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "sha": COMMIT,
            "tags": ["license:openrail++"],
            "gated": "manual" if name == "some/gated" else False,
            "siblings": [
                {"rfilename": file, "size": len(data)} for file, data in REPOSITORIES[name].items()
            ],
        }

    def send_file(self, request: Any, data: bytes) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        body = data[start:]
        request.send_response(206 if start else 200)
        if self.tells_size:
            request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(body[: self.cut_at])
        request.close_connection = True

    def send(self, request: Any, status: int, body: bytes, **headers: str) -> None:
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    hub = Hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(fetching, "_BEAT_S", 0.02)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def got(workspace: Workspace, name: str, token: str | None = None) -> Fetched:
    """Look up and fetch; the last that is said."""
    *_, last = fetch(workspace, look_up(workspace, name, token=token), token=token)
    return last


def test_a_repository_is_described_before_it_is_fetched(hub: Hub, workspace: Workspace):
    found = look_up(workspace, "some/base")
    assert (found.kind, found.name, found.licence, found.gated) == (
        "repository", "some/base", "openrail++", False,
    )  # fmt: skip
    assert found.num_bytes == len(WEIGHTS) + 4 + len(BASE["README.md"])
    assert [name for name, _ in found.files] == [
        "model_index.json",
        "README.md",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert found.free_bytes == pytest.approx(store.free_bytes(workspace.root), rel=0.1)
    assert have(workspace) == []
    assert not any("/resolve/" in path for _, path, _ in hub.asked), "nothing is fetched yet"


def test_a_repository_is_fetched_whole_and_never_a_pickle(hub: Hub, workspace: Workspace):
    last = got(workspace, f"{hub.url}/some/base")
    size = len(WEIGHTS) + 4 + len(BASE["README.md"])
    assert last == Fetched(size, size, workspace.models / "some--base")
    (model,) = have(workspace)
    assert (model.name, model.num_bytes) == ("some--base", size)
    names = {p.relative_to(model.path).as_posix() for p in model.path.rglob("*") if p.is_file()}
    assert names == {
        "README.md",
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    }
    asked = len(hub.asked)
    assert look_up(workspace, "some/base").is_here
    assert got(workspace, "some/base") == last
    assert not any("/resolve/" in path for _, path, _ in hub.asked[asked:]), "it is here already"


@pytest.mark.parametrize(
    "name",
    ["some/lora", "some/lora/mochi.safetensors", "{url}/some/lora/blob/main/mochi.safetensors"],
)
def test_one_file_of_a_repository(hub: Hub, workspace: Workspace, name: str):
    last = got(workspace, name.format(url=hub.url))
    assert last.path == workspace.models / "mochi.safetensors"
    assert last.path.read_bytes() == WEIGHTS
    assert [path.name for path in workspace.models.iterdir()] == ["mochi.safetensors"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("some/many", "give one of them, such as some/many/a.safetensors"),
        ("some/many/c.safetensors", "has no file"),
        ("some/pickles", "pickles"),
        ("some/pickles/model.ckpt", r"must be a \.safetensors file"),
        ("some/nothing", "not on the Hugging Face Hub"),
        ("nonsense", "owner/name"),
        ("../../etc/passwd", "owner/name"),
        ("http://example.com/x.safetensors", "https://"),
        ("file:///etc/passwd", "https://"),
        ("https://user:pass@example.com/x.safetensors", "no password"),
        ("{url}0/x.safetensors", "name a host"),
        ("http://127.0.0.1:1/x.safetensors", "cannot be reached"),
        ("http://localhost:{port}/page", "text/html"),
        ("http://localhost:{port}/closed/x.safetensors", "status 401; give a token"),
    ],
)
def test_what_cannot_be_had_is_said_with_the_fix(
    hub: Hub, workspace: Workspace, name: str, said: str
):
    name = name.format(url=hub.url, port=hub.server.server_port)
    with pytest.raises(SettingsError, match=said):
        look_up(workspace, name)
    assert list(workspace.models.iterdir()) == []


def test_a_gated_repository_needs_a_token_that_stays_nowhere(
    hub: Hub, workspace: Workspace, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    caplog.set_level(logging.DEBUG)
    found = look_up(workspace, "some/gated")
    assert found.gated
    with pytest.raises(SettingsError, match="some/gated is gated: accept its licence"):
        list(fetch(workspace, found))
    with pytest.raises(SettingsError, match="gated") as refused:
        list(fetch(workspace, found, token="hf_OfSomebodyElse"))
    assert "hf_OfSomebodyElse" not in str(refused.value) + repr(refused.value)
    assert refused.value.__cause__ is None

    found = look_up(workspace, "some/gated", token=TOKEN)
    *_, last = fetch(workspace, found, token=TOKEN)
    assert last.path is not None
    assert TOKEN not in repr(found) + repr(last) + caplog.text
    for path in tmp_path.rglob("*"):
        assert TOKEN not in path.name
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_a_broken_file_of_a_repository_is_not_kept(hub: Hub, workspace: Workspace):
    with pytest.raises(FileRefused, match="not a sound safetensors file"):
        got(workspace, "some/broken")
    assert have(workspace) == []
    assert not list(workspace.models.rglob("*.safetensors"))


def address(hub: Hub, path: str = "/files/mochi.safetensors?key=K3Y") -> str:
    """One that is no page of the Hub."""
    return f"http://localhost:{hub.server.server_port}{path}"


def test_a_file_by_address_goes_on_after_a_broken_line(hub: Hub, workspace: Workspace):
    found = look_up(workspace, address(hub))
    assert (found.kind, found.num_bytes) == ("url", len(WEIGHTS))
    assert "K3Y" not in repr(found)
    hub.cut_at = 5000
    with pytest.raises(SettingsError, match="try again, it goes on there"):
        list(fetch(workspace, found))
    assert have(workspace) == []
    hub.cut_at = None
    *_, last = fetch(workspace, found)
    assert hub.asked[-1][2]["Range"] == "bytes=5000-"
    assert last.path == workspace.models / "mochi.safetensors"
    assert last.path.read_bytes() == WEIGHTS
    assert [path.name for path in workspace.models.iterdir()] == ["mochi.safetensors"]


def test_who_leaves_early_ends_the_fetching(hub: Hub, workspace: Workspace):
    hub.files["/files/large.safetensors"] = bytes(5 << 20)
    progress = fetch(workspace, look_up(workspace, address(hub, "/files/large.safetensors")))
    assert next(progress).done == 1 << 20
    progress.close()  # pyright: ignore[reportAttributeAccessIssue]
    (part,) = workspace.models.iterdir()
    assert part.stat().st_size == 1 << 20
    assert have(workspace) == []


def test_a_broken_file_by_address_is_not_kept(hub: Hub, workspace: Workspace):
    hub.files["/files/bad.safetensors"] = b"x" * 99
    with pytest.raises(FileRefused, match="not a sound"):
        got(workspace, address(hub, "/files/bad.safetensors"))
    assert list(workspace.models.iterdir()) == []


def test_a_file_of_unknown_size_ends_where_the_disk_does(
    hub: Hub, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    hub.tells_size = False
    found = look_up(workspace, address(hub))
    assert found.num_bytes is None
    monkeypatch.setattr(store, "free_bytes", lambda _: fetching.SPARE_BYTES + 1000)
    with pytest.raises(SettingsError, match="the disk has room"):
        list(fetch(workspace, found))
    monkeypatch.undo()
    *_, last = fetch(workspace, found)
    assert last.path is not None


def test_a_model_larger_than_the_disk_is_refused_before_it_is_fetched(
    hub: Hub, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    found = look_up(workspace, "some/base")
    monkeypatch.setattr(store, "free_bytes", lambda _: fetching.SPARE_BYTES + 100)
    with pytest.raises(SettingsError, match="room for 100 bytes more"):
        list(fetch(workspace, found))


def test_where_others_can_open_the_page_nothing_is_fetched_from_this_machine(
    hub: Hub, workspace: Workspace
):
    with pytest.raises(SettingsError, match="leads to this machine or its private network"):
        look_up(workspace, address(hub), public_only=True)
    assert hub.asked == []
    found = replace(look_up(workspace, address(hub)), public_only=True)
    asked = len(hub.asked)
    with pytest.raises(SettingsError, match="private network"):
        list(fetch(workspace, found))
    assert len(hub.asked) == asked and have(workspace) == []


def test_a_token_does_not_follow_a_server_elsewhere(hub: Hub, workspace: Workspace):
    hub.redirects["/away.safetensors"] = f"{hub.url}/files/mochi.safetensors"
    got(workspace, address(hub, "/away.safetensors"), token=TOKEN)
    sent = {path: headers.get("Authorization") for _, path, headers in hub.asked}
    assert sent == {"/away.safetensors": f"Bearer {TOKEN}", "/files/mochi.safetensors": None}
    hub.redirects["/bad.safetensors"] = "http://example.com/x.safetensors"
    with pytest.raises(SettingsError, match="https://"):
        look_up(workspace, address(hub, "/bad.safetensors"))


def test_a_token_opens_an_address_and_is_in_no_file(hub: Hub, workspace: Workspace):
    last = got(workspace, address(hub, "/closed/x.safetensors"), token=TOKEN)
    assert last.path is not None
    assert not any(TOKEN.encode() in p.read_bytes() for p in workspace.models.iterdir())


def test_a_servers_name_for_a_file_cannot_lead_out(hub: Hub, workspace: Workspace):
    hub.files["/files/..%2f..%2fx.safetensors"] = WEIGHTS
    last = got(workspace, address(hub, "/files/..%2f..%2fx.safetensors"))
    assert last.path == workspace.models / "x.safetensors"
