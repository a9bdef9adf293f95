"""What Windows and macOS do to files, through seams that raise and say what they would."""

import errno
import os
import re
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from workbench import store
from workbench.data.sources import Folder, open_files
from workbench.launch import start
from workbench.models import source
from workbench.models.base import BaseSettings
from workbench.recipe import Recipe
from workbench.records import checkpoint
from workbench.records.checkpoint import Bundle
from workbench.records.pictures import picture_path
from workbench.settings import SettingsError
from workbench.store import systems
from workbench.training import awake
from workbench.workspace.folders import Workspace


class Held(PermissionError):
    """What Windows raises while another program has a file open."""

    winerror = 32

    def __init__(self, number: int = 32) -> None:
        super().__init__(errno.EACCES, "The process cannot access the file")
        self.winerror = number


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only by sleeping."""
    now = SimpleNamespace(s=0.0)

    def sleep(seconds: float) -> None:
        now.s += seconds

    monkeypatch.setattr(systems, "time", SimpleNamespace(monotonic=lambda: now.s, sleep=sleep))
    return now


def held_until(monkeypatch, clock, owner, name: str, *, seconds: float, number: int = 32) -> None:
    real = getattr(owner, name)

    def act(*args, **rest):
        if clock.s < seconds:
            raise Held(number)
        return real(*args, **rest)

    monkeypatch.setattr(owner, name, act)


@pytest.mark.parametrize("number", [5, 32, 33])
def test_a_file_that_is_held_for_nine_seconds_is_replaced(tmp_path, monkeypatch, clock, number):
    store.write_text(tmp_path / "a.txt", "old")
    held_until(monkeypatch, clock, os, "replace", seconds=9, number=number)
    store.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert 9 <= clock.s < 10


def test_one_that_stays_held_is_given_up_after_ten_seconds_with_the_old_file_whole(
    tmp_path, monkeypatch, clock
):
    store.write_text(tmp_path / "a.txt", "old")
    held_until(monkeypatch, clock, os, "replace", seconds=1e9)
    with pytest.raises(PermissionError, match="cannot access"):
        store.write_text(tmp_path / "a.txt", "new")
    assert 10 <= clock.s < 11
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_place_without_permission_is_refused_at_once(tmp_path, monkeypatch, clock):
    def no(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", no)
    with pytest.raises(PermissionError):
        store.write_text(tmp_path / "a.txt", "new")
    assert clock.s == 0


@pytest.mark.parametrize(("owner", "name"), [(os, "rename"), (shutil, "rmtree")], ids=str)
def test_checkpoints_are_saved_and_pruned_past_a_virus_scanner(
    tmp_path, monkeypatch, clock, owner, name
):
    for step in (1, 2, 3):
        bundle = Bundle.pack({"adapter": {"w": torch.full((2,), float(step))}})
        if step == 3:
            held_until(monkeypatch, clock, owner, name, seconds=2)
        checkpoint.save(tmp_path, step, bundle, recipe_hash="")
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step-000002", "step-000003"]
    assert checkpoint.newest_valid(tmp_path).step == 3
    assert clock.s >= 2


# ------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CON", "must not be CON"),
        ("con.txt", "must not be CON"),
        ("a/Nul.tar.gz", "must not be NUL"),
        ("COM1.png", "must not be COM1"),
        ("lpt³", "must not be LPT³"),
        ("aux .txt", "must not be AUX"),
        ("a.", "end with a dot or space"),
        ("a /b.png", "end with a dot or space"),
        (" a.png", "begin with a space"),
        ("a:b.png", "must not hold :"),
        ("what?.png", "must not hold ?"),
    ],
)
def test_names_that_windows_cannot_hold_are_told_by_their_rule(monkeypatch, name, said):
    monkeypatch.setattr(systems, "_WINDOWS", True)
    assert said in store.unportable(name)


@pytest.mark.parametrize(
    "name",
    ["console.png", "com10.png", "nul-1", "a.b.c", ".hidden", "é日本.png", "conin", "x/y.png"],
)
def test_names_that_only_look_like_those_are_taken(name):
    assert store.unportable(name) == ""


@pytest.mark.parametrize("prompt", ["con", "nul.", "a: b?", "...", "aux <x>", "  ", "x" * 500])
def test_samples_have_names_that_every_system_holds(tmp_path, monkeypatch, prompt):
    monkeypatch.setattr(systems, "_WINDOWS", True)
    path = picture_path(tmp_path, number=1, prompt=prompt, seed=7)
    assert store.unportable(path.name) == "" and len(path.name) < 60


@pytest.mark.parametrize("name", ["aux.png", "end.", "CON"])
def test_new_names_in_a_workspace_are_refused_and_those_that_lie_there_are_not(tmp_path, name):
    workspace = Workspace(tmp_path)
    with pytest.raises(store.FileRefused, match=r"a name in data/ must not .* Windows"):
        workspace.inside("data", f"set/{name}")
    (workspace.data / "set").mkdir()
    (workspace.data / "set" / name).touch()
    assert workspace.inside("data", f"set/{name}").name == name


@pytest.mark.parametrize("name", ["nul", "Com1.v2", "run."])
def test_runs_of_such_names_do_not_begin(tmp_path, name):
    recipe = Recipe.preset("critters").override([f'name="{name}"', f'output.folder="{tmp_path}"'])
    with pytest.raises(SettingsError, match=rf"^name must not .*got '{re.escape(name)}'"):
        start(recipe)


# ---------------------------------------------------------------------------------- links and afar


class Entry:
    """A folder's entry as Windows describes a junction, or OneDrive's own folder."""

    def __init__(self, tag: int) -> None:
        self.tag = tag

    def is_symlink(self) -> bool:
        return False

    def is_dir(self) -> bool:
        return True

    def stat(self, *, follow_symlinks: bool) -> SimpleNamespace:
        assert not follow_symlinks
        return SimpleNamespace(st_reparse_tag=self.tag)


def test_junctions_are_links_and_onedrives_folders_are_not():
    assert store.is_link(Entry(0xA0000003))
    assert not store.is_link(Entry(0x9000701A))  # IO_REPARSE_TAG_CLOUD_7
    assert not store.is_link(Entry(0))


def test_circles_of_links_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = open_files(tmp_path, setting="data.subsets.0.path")
    assert found.names == ["a/x.png", "self"]
    assert "linked folder a/back was not entered" in found.notes


FAR = {
    "OneDrive": SimpleNamespace(st_file_attributes=0x400000),
    "an older OneDrive": SimpleNamespace(st_file_attributes=0x1000),
    "iCloud": SimpleNamespace(st_flags=0x40000000),
}


@pytest.mark.parametrize("where", FAR)
def test_placeholders_are_named_and_never_fetched(tmp_path, monkeypatch, where):
    (tmp_path / "a.png").write_bytes(b"x")
    files = Folder(tmp_path, recursive=True)
    assert files.names == ["a.png"]
    far = store.is_far
    monkeypatch.setattr(store, "is_far", lambda status: far(FAR[where]))
    monkeypatch.setattr("builtins.open", lambda *_: pytest.fail("reading fetches it"))
    with pytest.raises(store.FileRefused, match=r"only in the cloud .*kept on this device"):
        files.open("a.png")


def test_a_small_file_without_blocks_is_no_placeholder():
    here = SimpleNamespace(st_blocks=0, st_size=300, st_file_attributes=0x20, st_flags=0)
    assert not store.is_far(here)


def test_what_icloud_has_taken_away_is_named(tmp_path):
    for name in (".a.png.icloud", ".b.png.icloud"):
        (tmp_path / name).touch()
    files = Folder(tmp_path, recursive=True)
    assert files.names == [] and len(files.notes) == 1
    assert files.notes[0].startswith("a.png, b.png lies only in the cloud")


# ------------------------------------------------------------------------------------------- clock


def test_sleep_of_the_machine_is_no_training_on_windows_either(monkeypatch):
    """QueryUnbiasedInterruptTime leaves sleep out; Python's own clocks there do not."""
    import ctypes

    def unbiased(pointer) -> int:
        pointer._obj.value = 123_4567890
        return 1

    kernel = SimpleNamespace(QueryUnbiasedInterruptTime=unbiased)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.setattr(awake.sys, "platform", "win32")
    assert awake.awake_s() == pytest.approx(123.456789)


@pytest.mark.skipif(os.name == "nt", reason="the seam above")
def test_elsewhere_it_is_the_clock_that_stands_still_while_the_machine_sleeps(monkeypatch):
    monkeypatch.setattr(awake.time, "monotonic", lambda: 5.0)
    assert awake.awake_s() == 5.0


def test_many_files_are_walked_without_a_look_at_each(monkeypatch, tmp_path):
    """Names and kinds come with the listing: a call for each of them takes minutes on a share."""

    class Many:
        def __enter__(self):
            return (File(f"{n:07d}.png") for n in range(100_000))

        def __exit__(self, *_):
            return None

    class File:
        __slots__ = ("name",)

        def __init__(self, name: str) -> None:
            self.name = name

        def is_symlink(self) -> bool:
            return False

        def is_dir(self) -> bool:
            return False

        def is_file(self) -> bool:
            return True

    monkeypatch.setattr("workbench.data.sources.os.scandir", lambda folder: Many())
    names = Folder(Path(tmp_path), recursive=True).names
    assert len(names) == 100_000 and names[-1] == "0099999.png"


@pytest.fixture
def drive(monkeypatch, tmp_path):
    """A folder on a drive that hangs, or is gone: `drive(seconds=...)` or `drive(number=...)`."""
    real, ended = os.stat, threading.Event()

    def away(*, hangs: bool = False, number: int = 0) -> Path:
        folder = tmp_path / "share"

        def stat(path, *args, **rest):
            if os.fspath(path) == os.fspath(folder) and number:
                raise OSError(number, os.strerror(number))
            if os.fspath(path) == os.fspath(folder) and hangs:
                ended.wait(30)
            return real(path, *args, **rest)

        monkeypatch.setattr(os, "stat", stat)
        monkeypatch.setattr(systems, "ANSWER_S", 0.2)
        return folder

    yield away
    ended.set()


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ENOTCONN, errno.EIO])
def test_a_drive_that_is_gone_is_the_users_mistake_with_the_fix(drive, number):
    folder = drive(number=number)
    with pytest.raises(SettingsError, match=r"data\.subsets: .*cannot be reached.*mount its drive"):
        open_files(folder, setting="data.subsets")
    with pytest.raises(SettingsError, match=r"base\.path .*cannot be reached .*mount its drive"):
        source.peek(BaseSettings(path=str(folder)))
    recipe = Recipe.preset("critters").override([f"output.folder={folder}"])
    with pytest.raises(SettingsError, match=r"output\.folder .*cannot be reached"):
        start(recipe)


def test_a_drive_that_hangs_is_given_up_in_time(drive):
    folder, began = drive(hangs=True), time.monotonic()
    with pytest.raises(SettingsError, match=r"has not answered for 0\.2 s: its drive hangs"):
        open_files(folder, setting="data.subsets")
    assert time.monotonic() - began < 5


def test_what_answers_is_not_away(tmp_path):
    assert store.why_away(tmp_path) == store.why_away(tmp_path / "nothing here") == ""
