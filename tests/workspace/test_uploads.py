"""Files that arrive in pieces, and zip files that become the files in them."""

import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from workspace_fakes import huge_png

from workbench import store
from workbench.store import FileRefused
from workbench.workspace import uploads
from workbench.workspace.folders import Workspace
from workbench.workspace.intake import Limits
from workbench.workspace.unpacking import unpack
from workbench.workspace.uploads import abandon, append, begin, clean, finish


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def png(color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "PNG")
    return file.getvalue()


def send(workspace: Workspace, name: str, data: bytes, folder: str = "cats") -> Path:
    """Send a file whole."""
    upload = begin(workspace, folder, name, size=len(data))
    append(workspace, upload.id, offset=0, data=data)
    return finish(workspace, upload.id)


def left(workspace: Workspace) -> list[str]:
    """Everything in data/ and models/."""
    roots = (workspace.data, workspace.models)
    found = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return sorted(path.relative_to(workspace.root).as_posix() for path in found)


def test_a_file_in_pieces_goes_on_after_a_broken_line(workspace: Workspace):
    data = png()
    first = begin(workspace, "cats", "a.png", size=len(data), modified="7")
    assert first.offset == 0
    append(workspace, first.id, offset=0, data=data[:50])
    again = begin(workspace, "cats", "a.png", size=len(data), modified="7")
    assert (again.id, again.offset) == (first.id, 50)
    assert append(workspace, first.id, offset=0, data=data[:50]).offset == 50, "the answer was lost"
    assert append(workspace, first.id, offset=40, data=data[40:60]).offset == 60
    with pytest.raises(FileRefused, match="60 bytes are here"):
        append(workspace, first.id, offset=70, data=data[70:])
    with pytest.raises(FileRefused, match="bytes are missing"):
        finish(workspace, first.id)
    append(workspace, first.id, offset=60, data=data[60:])
    path = finish(workspace, first.id)
    assert path == workspace.data / "cats" / "a.png"
    assert path.read_bytes() == data
    assert left(workspace) == ["data/cats/a.png"]
    other = begin(workspace, "cats", "b.png", size=len(data), modified="8")
    assert other.id != first.id
    assert other.offset == 0


@pytest.mark.parametrize(
    ("folder", "name", "said"),
    [
        ("cats", "a.exe", "'.exe'"),
        ("cats", "a.ckpt", "'.ckpt'"),
        ("cats", "a", "no extension"),
        ("cats", "x/a.png", "hold a /"),
        ("cats", ".a.png", "begin with a"),
        ("../..", "a.png", r"\.\."),
        (".parts", "a.png", "begin with a"),
        ("cats", "a\n.png", "control characters"),
        ("cats", "a" * 252 + ".png", "255 bytes"),
    ],
)
def test_names_and_kinds_that_are_not_taken(
    workspace: Workspace, folder: str, name: str, said: str
):
    with pytest.raises(FileRefused, match=said):
        begin(workspace, folder, name, size=9)
    assert left(workspace) == []


def test_too_much_is_refused_and_leaves_nothing(workspace: Workspace):
    limits = Limits(file_bytes=1000)
    for size in (1001, 0, -1):
        with pytest.raises(FileRefused, match="1,000 bytes"):
            begin(workspace, "cats", "a.png", size=size, limits=limits)
    free = store.free_bytes(workspace.root)
    with pytest.raises(FileRefused, match="the disk has room for"):
        begin(workspace, "cats", "a.png", size=2000, limits=Limits(spare_bytes=2 * free))
    with pytest.raises(FileRefused, match="caption"):
        begin(workspace, "cats", "a.txt", size=2 << 20)
    upload = begin(workspace, "cats", "a.png", size=10)
    with pytest.raises(FileRefused, match="has more; nothing of it was kept"):
        append(workspace, upload.id, offset=0, data=bytes(11))
    with pytest.raises(FileRefused, match="not known"):
        append(workspace, upload.id, offset=0, data=b"1")
    assert left(workspace) == []


def test_what_others_are_sending_counts_as_taken(workspace: Workspace):
    room = store.free_bytes(workspace.root)
    begin(workspace, "cats", "a.zip", size=room // 2, limits=Limits(1 << 60, 0))
    with pytest.raises(FileRefused, match="the disk has room for"):
        begin(workspace, "cats", "b.zip", size=room // 2 + (1 << 28), limits=Limits(1 << 60, 0))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.png", b"this is no picture", "a.png: not an image"),
        ("a.zip", b"this is no archive", "a.zip: not a readable zip"),
        ("a.safetensors", b"\x80\x04pickle", "a.safetensors: not a sound"),
    ],
)
def test_what_is_not_what_its_name_says_is_refused_by_name_and_not_kept(
    workspace: Workspace, name: str, data: bytes, said: str
):
    with pytest.raises(FileRefused, match=said):
        send(workspace, name, data)
    assert left(workspace) == []


def test_a_picture_of_too_many_pixels_is_refused_from_its_header(workspace: Workspace):
    with pytest.raises(FileRefused, match="more than 268,435,456 pixels"):
        send(workspace, "a.png", huge_png())
    assert left(workspace) == []


def test_names_that_differ_in_case_or_accents_only_are_a_conflict(workspace: Workspace):
    send(workspace, "Cat.png", png())
    send(workspace, "\u00fcber.png", png())
    with pytest.raises(FileRefused, match=r"cat\.png and Cat\.png differ in case"):
        send(workspace, "cat.png", png("blue"))
    with pytest.raises(FileRefused, match="differ in case"):
        send(workspace, "u\u0308ber.png", png("blue"))
    with pytest.raises(FileRefused, match="is there already"):
        send(workspace, "Cat.png", png("blue"))
    assert (workspace.data / "cats" / "Cat.png").read_bytes() == png()
    assert len(left(workspace)) == 2


def test_two_conflicting_files_on_their_way_do_not_overwrite_each_other(workspace: Workspace):
    data = png()
    both = [begin(workspace, "cats", name, size=len(data)) for name in ("Cat.png", "cat.png")]
    for upload in both:
        append(workspace, upload.id, offset=0, data=data)
    finish(workspace, both[0].id)
    with pytest.raises(FileRefused, match="differ in case"):
        finish(workspace, both[1].id)
    assert left(workspace) == ["data/cats/Cat.png"]


def test_weights_go_to_the_models(workspace: Workspace):
    from numpy import zeros
    from safetensors.numpy import save

    path = send(workspace, "lora.safetensors", save({"x": zeros(3)}), folder="mine")
    assert path == workspace.models / "mine" / "lora.safetensors"


def test_abandoned_parts_go_after_a_day(workspace: Workspace):
    old = begin(workspace, "cats", "old.png", size=99)
    new = begin(workspace, "cats", "new.png", size=99)
    append(workspace, new.id, offset=0, data=b"x")
    day = time.time() - uploads.ABANDONED_S - 1
    for path in (workspace.data / ".parts").iterdir():
        if path.name != f"{new.id}.png":  # its announcement is old too, its last piece is not
            os.utime(path, (day, day))
    assert clean(workspace) == 1
    assert begin(workspace, "cats", "new.png", size=99).offset == 1
    with pytest.raises(FileRefused, match="not known"):
        append(workspace, old.id, offset=0, data=b"x")
    abandon(workspace, new.id)
    abandon(workspace, "../../x")
    assert left(workspace) == []


def packed(workspace: Workspace, members: dict[str, bytes], **options: int) -> Path:
    """A zip file in a data set."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    folder = workspace.data / "cats"
    folder.mkdir(exist_ok=True)
    (folder / "all.zip").write_bytes(file.getvalue())
    return folder / "all.zip"


def test_a_zip_file_becomes_its_pictures_and_captions(workspace: Workspace):
    path = packed(
        workspace,
        {
            "10_mochi/a.png": png(),
            "10_mochi/a.txt": b"mochi",
            "metadata.jsonl": b'{"file_name": "10_mochi/a.png", "text": "mochi"}',
            "meta_lat.json": b'{"10_mochi/a": {"tags": "red"}}',
            "damaged.json": b"{",
            "__MACOSX/a.png": b"x",
            "@eaDir/a.png": b"x",
            ".DS_Store": b"x",
            "run.exe": b"x",
            "broken.png": b"x",
        },
    )
    result = unpack(workspace, path)
    assert left(workspace) == [
        "data/cats/10_mochi/a.png",
        "data/cats/10_mochi/a.txt",
        "data/cats/meta_lat.json",
        "data/cats/metadata.jsonl",
    ]
    assert len(result.written) == 4
    reasons = dict(result.set_aside)
    assert reasons["run.exe"] == "neither picture nor caption"
    assert reasons["broken.png"].startswith("not an image")
    assert "not valid JSON" in reasons["damaged.json"]
    systems = {"__MACOSX/a.png", "@eaDir/a.png", ".DS_Store"}
    assert set(reasons) == systems | {"run.exe", "broken.png", "damaged.json"}


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"ok.png": png(), "../../x.png": png()}, "points outside"),
        ({"/abs.png": png()}, "points outside"),
        ({"Cat.png": png(), "cat.png": png()}, "differ in case only"),
        ({"new.png": png(), "there.PNG": png()}, "differ in case"),
        ({"ok.png": png(), "x\ny.png": png()}, "control characters"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_dangerous_zip_file_writes_nothing(
    workspace: Workspace, members: dict[str, bytes], said: str
):
    (workspace.data / "cats").mkdir()
    (workspace.data / "cats" / "there.png").write_bytes(png("blue"))
    path = packed(workspace, members)
    with pytest.raises(FileRefused, match=said):
        unpack(workspace, path)
    assert left(workspace) == ["data/cats/all.zip", "data/cats/there.png"]


def test_a_zip_bomb_is_refused_when_it_arrives(workspace: Workspace):
    path = packed(workspace, {"a.png": bytes(20 << 20)}, compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(FileRefused, match=r"all\.zip: member 'a\.png' inflates"):
        send(workspace, "all.zip", data)
    assert left(workspace) == []


def test_a_damaged_member_is_named_and_nothing_is_written(workspace: Workspace):
    path = packed(workspace, {"a.png": png(), "b.png": png("blue")})
    data = bytearray(path.read_bytes())
    data[data.rfind(png("blue")) + 60] ^= 255
    path.write_bytes(data)
    with pytest.raises(FileRefused, match=r"b\.png"):
        unpack(workspace, path)
    assert left(workspace) == ["data/cats/all.zip"]


def test_a_kill_in_the_middle_leaves_what_the_next_time_completes(workspace: Workspace):
    path = packed(workspace, {f"{k}.png": png() for k in range(6)} | {"0.txt": b"mochi"})
    script = (
        "import os, shutil, sys; from pathlib import Path\n"
        "from workbench.workspace.folders import Workspace\n"
        "from workbench.workspace.unpacking import unpack\n"
        "move, moved = shutil.move, []\n"
        "def stop(*given):\n"
        "    moved.append(move(*given))\n"
        "    if len(moved) == 3: os.kill(os.getpid(), 9)\n"
        "shutil.move = stop\n"
        "unpack(Workspace(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script, str(workspace.root), str(path)]
    assert subprocess.run(command, check=False).returncode == -9
    lying = [name for name in left(workspace) if ".parts" not in name]
    assert path.is_file() and len(lying) == 3 + 1, "the zip file is still there"
    assert len(unpack(workspace, path).written) == 7
    names = [f"data/cats/{name}" for name in ("0.png", "0.txt", *(f"{k}.png" for k in range(1, 6)))]
    assert [name for name in left(workspace) if ".parts" not in name] == names


def test_a_folder_is_listed_once_however_many_files_come(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    path = packed(workspace, {f"{k}.txt": b"mochi" for k in range(300)})
    listed: list[object] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder=".": listed.append(folder) or real(folder))
    assert len(unpack(workspace, path).written) == 300
    assert len(listed) < 10


def test_a_zip_file_larger_than_the_disk_is_refused(workspace: Workspace):
    path = packed(workspace, {"a.png": png()})
    with pytest.raises(FileRefused, match="the disk has room"):
        unpack(workspace, path, limits=Limits(spare_bytes=store.free_bytes(workspace.root)))
    assert unpack(workspace, path, keep=True).set_aside == ()
    assert path.exists()
