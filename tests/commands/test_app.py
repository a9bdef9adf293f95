"""The command `app`: what it prints and refuses; the page itself is left out."""

import os
from pathlib import Path
from typing import Any

import pytest

from workbench import cli
from workbench.app import server
from workbench.app.server import Served
from workbench.commands import app as command


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Serve nothing and stay not; keeps what was asked for."""
    asked: list[dict[str, Any]] = []

    def serve(make: object, workspace: object, **given: Any) -> Served:
        asked.append({"workspace": workspace, **given})
        port = given["door"].port or 7861
        return Served(f"http://127.0.0.1:{port}", port, None, page=None)  # pyright: ignore

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(command, "_stay", lambda served, place: None)
    monkeypatch.delenv("WORKBENCH_AUTH", raising=False)
    return asked


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["app", *arguments, "--no-browser"])
    return int(ended.value.code or 0)


def test_on_this_machine_there_is_no_password_and_a_hint_at_the_tunnel(
    doors: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert doors[0]["door"].account is None
    assert "ssh -L 7861:127.0.0.1:7861" in said
    assert "Port 7860 is taken" in said
    assert str(tmp_path) in said
    assert "Password" not in said


@pytest.mark.parametrize("option", [["--listen"], ["--share"], ["--root-path", "/lora"]])
def test_a_made_password_is_shown_once_and_lies_in_no_file(
    doors: list, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
):
    assert run(str(tmp_path), *option) == 0
    said = capsys.readouterr().out
    password = doors[0]["door"].account.password
    assert said.count(password) == 1
    assert "ssh -L" not in said
    assert all(password not in p.read_text() for p in tmp_path.rglob("*") if p.is_file())


def test_a_given_password_is_not_shown(
    doors: list, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(str(tmp_path), "--auth", "ann:correct horse") == 0
    assert doors[0]["door"].account.matches("ann", "correct horse")
    assert "correct horse" not in "".join(capsys.readouterr())


def test_a_password_from_the_environment_is_not_shown_nor_inherited(
    doors: list, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WORKBENCH_AUTH", "ann:correct horse")
    assert run(str(tmp_path), "--listen") == 0
    assert doors[0]["door"].account.matches("ann", "correct horse")
    assert "correct horse" not in "".join(capsys.readouterr())
    assert "WORKBENCH_AUTH" not in os.environ


def test_a_password_from_a_file(doors: list, tmp_path: Path):
    (tmp_path / "secret").write_text("ann:correct horse\nsecond line\n")
    assert run(str(tmp_path / "ws"), "--auth-file", str(tmp_path / "secret")) == 0
    assert doors[0]["door"].account.matches("ann", "correct horse")


def test_sharing_is_off_unless_it_was_asked_for(
    doors: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GRADIO_SHARE", "True")
    assert run(str(tmp_path)) == 0
    assert doors[0]["door"].share is False
    assert doors[0]["door"].host == "127.0.0.1"


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--auth", "ann"], "--auth must be USER:PASSWORD"),
        (["--auth", "ann:short"], "at least 8 characters"),
        (["--auth", "ann:correct horse", "--auth-file", "x"], "--auth or --auth-file"),
        (["--root-path", "lora"], "--root-path must be a path"),
        (["--port", "70000"], "--port must be from 1 to 65535"),
        (["--webhook", "ftp://example.com"], "--webhook must be"),
        (["--on-finish", "no-such-program --now"], "--on-finish must begin with a program"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    doors: list,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    rule: str,
):
    assert run(str(tmp_path), *arguments) == 2
    said = capsys.readouterr()
    assert rule in said.err
    assert "horse" not in said.err
    assert doors == []
