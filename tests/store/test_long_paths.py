"""Paths that are too long for Windows, through seams that raise what it raises."""

import errno
import os
import re
from pathlib import Path

import gradio as gr
import pytest

from workbench import cli, store
from workbench.app.desk import saying
from workbench.launch import start
from workbench.recipe import Recipe
from workbench.settings import SettingsError
from workbench.store import systems


class TooLong(FileNotFoundError):
    """What Windows raises for a path of more than 259 characters, its long paths switched off."""

    winerror = 3

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENOENT, "The system cannot find the path specified", path)


@pytest.fixture
def short_paths(monkeypatch):
    """Windows with its long paths switched off."""

    def refuse(function):
        def opened(path, *given, **rest):
            if not isinstance(path, int) and len(os.path.abspath(os.fsdecode(path))) > 259:
                raise TooLong(os.fsdecode(path))
            return function(path, *given, **rest)

        return opened

    monkeypatch.setattr(systems, "_WINDOWS", True)
    monkeypatch.setattr(systems, "open", refuse(open), raising=False)
    monkeypatch.setattr("builtins.open", refuse(open))
    monkeypatch.setattr(os, "mkdir", refuse(os.mkdir))


def deep(folder: Path, length: int) -> Path:
    """A folder below another one whose path has so many characters."""
    rest = length - len(str(folder)) - 1
    assert rest > 0
    pieces = [*("x" * 100 for _ in range(rest // 101)), "y" * (rest % 101)]
    return folder.joinpath(*filter(None, pieces))


def test_a_run_folder_without_room_for_its_names_is_refused_before_any_work(tmp_path, short_paths):
    """The folder itself can be made; its first sample, after hours, could not."""
    folder = deep(tmp_path, 200)
    run = start(Recipe.preset("critters"), folder=folder)
    with pytest.raises(SettingsError, match=r"the path has 281 characters and Windows takes 259"):
        next(iter(run.train()))
    assert os.listdir(folder) == [], "nothing is left"
    systems.try_longest_name(tmp_path, 80)
    assert "x" * 80 not in os.listdir(tmp_path)


def test_a_path_that_is_too_long_is_said_with_its_length(
    tmp_path, short_paths, capsys, monkeypatch
):
    folder = deep(tmp_path, 270)
    with pytest.raises(FileNotFoundError) as caught:
        store.write_text(folder / "a.txt", "text")
    # the folder that could not be made: 101 characters of it are the first too many
    assert re.match(
        r"the path has 2\d\d characters and Windows takes 259", store.too_long(caught.value)
    )
    monkeypatch.setattr(cli, "app", lambda arguments: store.write_text(folder / "a.txt", "text"))
    with pytest.raises(SystemExit):
        cli.main(["doctor"])
    assert "characters and Windows takes 259: choose a shorter folder" in capsys.readouterr().err
    with pytest.raises(gr.Error, match="characters and Windows takes 259"):
        saying(store.write_text)(folder / "a.txt", "text")


@pytest.mark.parametrize("number", [2, 3, 206])
def test_what_is_missing_is_not_called_too_long(tmp_path, number):
    error = TooLong(str(tmp_path / "nothing"))
    error.winerror = number
    assert store.too_long(error) == ""
    assert store.too_long(FileNotFoundError(errno.ENOENT, "No such file", "y" * 300)) == ""
