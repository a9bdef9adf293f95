"""Files sent in pieces over real requests: gone on with, refused with a sentence, or in place."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from workbench.app import uploading
from workbench.data.dataset import DataSettings, index
from workbench.data.subsets import Subset
from workbench.workspace.folders import Workspace

MAX = 200_000


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def client(workspace) -> TestClient:
    return TestClient(Starlette(routes=uploading.routes(workspace, max_bytes=MAX)))


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (200, 100), "red").save(file, "PNG")
    return file.getvalue()


def begin(client, called: str, data: bytes, **changes):
    said = {"folder": "cats", "name": called, "size": len(data), "modified": "7"} | changes
    return client.post("/workbench/upload", json=said)


def send(client, name: str, data: bytes):
    at = begin(client, name, data).json()
    client.put(f"/workbench/upload/{at['id']}?offset=0", content=data)
    return client.post(f"/workbench/upload/{at['id']}/finish")


def files(workspace: Workspace) -> list[str]:
    found = workspace.data.rglob("*")
    return sorted(p.relative_to(workspace.data).as_posix() for p in found if p.is_file())


def test_a_file_goes_on_where_the_line_broke(client, workspace):
    data = picture()
    at = begin(client, "a.png", data).json()
    assert at["offset"] == 0
    half = client.put(f"/workbench/upload/{at['id']}?offset=0", content=data[:100]).json()
    assert half["offset"] == 100
    assert begin(client, "a.png", data).json()["offset"] == 100  # asked anew after the break
    client.put(f"/workbench/upload/{at['id']}?offset=100", content=data[100:])
    told = client.post(f"/workbench/upload/{at['id']}/finish").json()
    assert told == {"name": "a.png", "written": 1, "set_aside": []}
    assert (workspace.data / "cats" / "a.png").read_bytes() == data
    assert files(workspace) == ["cats/a.png"]


def test_a_zip_becomes_what_is_in_it(client, workspace):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", picture())
        archive.writestr("read.me", "x")
    told = send(client, "some.zip", file.getvalue()).json()
    assert told["written"] == 1 and told["set_aside"] == [
        ["read.me", "neither picture nor caption"]
    ]
    assert files(workspace) == ["cats/a.png"]


def test_words_for_many_pictures_come_in_one_file(client, workspace):
    rows = b'{"file_name": "a.png", "text": "a red cat"}\n'
    assert send(client, "a.png", picture()).json()["written"] == 1
    assert send(client, "metadata.jsonl", rows).json()["written"] == 1
    assert files(workspace) == ["cats/a.png", "cats/metadata.jsonl"]
    found = index(DataSettings(subsets=(Subset(path=str(workspace.data / "cats")),)))
    assert [record.caption for record in found.records] == ["a red cat"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("metadata.jsonl", b"{broken", "metadata.jsonl"),
        ("metadata.csv", b"name,words\na.png,x\n", "must have file_name"),
        ("other.jsonl", b"{}", "must be a picture"),
    ],
)
def test_words_that_no_dataset_could_read_are_refused(client, workspace, name, data, words):
    at = begin(client, name, data)
    answer = send(client, name, data) if at.status_code == 200 else at
    assert answer.status_code == 409 and words in answer.json()["detail"]
    assert files(workspace) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": MAX + 1}, "200,000 bytes"),
        ({"size": 0}, "empty file"),
        ({"name": "a.exe"}, "must be a picture"),
        ({"name": "../a.png"}, "must not hold .."),
        ({"folder": "../runs"}, "must not"),
        ({"size": "7"}, "announced as JSON"),
    ],
)
def test_what_is_refused_says_why_and_leaves_nothing(client, workspace, changes, words):
    answer = begin(client, "a.png", picture(), **changes)
    assert answer.status_code == 409 and words in answer.json()["detail"]
    assert files(workspace) == []


def test_what_is_not_what_its_name_says_leaves_nothing(client, workspace):
    answer = send(client, "a.png", b"no picture at all")
    assert answer.status_code == 409 and "a.png" in answer.json()["detail"]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../x.txt", "x")
    answer = send(client, "evil.zip", file.getvalue())
    assert answer.status_code == 409 and "outside" in answer.json()["detail"]
    assert files(workspace) == []


def test_pieces_are_bounded_and_in_order(client, monkeypatch):
    monkeypatch.setattr(uploading, "MAX_PIECE_BYTES", 10)
    at = begin(client, "a.png", picture()).json()
    path = f"/workbench/upload/{at['id']}"
    answer = client.put(f"{path}?offset=0", content=b"x" * 11)
    assert answer.status_code == 409 and "at most 10 bytes" in answer.json()["detail"]
    assert client.put(f"{path}?offset=5", content=b"x").status_code == 409  # a gap
    assert "whole number" in client.put(f"{path}?offset=-1", content=b"x").json()["detail"]
    assert client.delete(path).json() == {}
    assert client.put(f"{path}?offset=0", content=b"x").status_code == 409  # forgotten
