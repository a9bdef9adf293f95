"""The first cell's install: only what is missing, torch never, a restart only where it must be."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workbench import packages

NEEDS = ["psutil>=5.9", "rich>=13.9", "torch>=2.10", 'ipykernel>=6.17; extra == "notebooks"']


class Machine:
    """Versions that are there, and a pip that changes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, there: dict[str, str], used: set[str]):
        self.there, self.commands, self.killed = there, [], []
        self.held: list[str] = []
        self.gets: list[dict[str, str] | None] = []  # of each call; None is a failure
        monkeypatch.setattr(packages, "requires", lambda name: NEEDS)
        monkeypatch.setattr(packages, "_version", there.get)
        monkeypatch.setattr(
            packages, "in_use", lambda: {name: there[name] for name in sorted(used)}
        )
        monkeypatch.setattr(subprocess, "run", self._pip)
        monkeypatch.setattr(os, "kill", lambda pid, signal: self.killed.append(pid))

    def _pip(self, command: list[str], check: bool) -> Any:
        self.commands.append(command)
        self.held.append(Path(command[command.index("-c") + 1]).read_text())
        got = self.gets.pop(0)
        self.there.update(got or {})
        return subprocess.CompletedProcess(command, 1 if got is None else 0)


THERE = {"psutil": "5.9.5", "torch": "2.10.0+cu126", "numpy": "2.0.2"}


def test_what_is_there_is_left_alone(monkeypatch):
    machine = Machine(monkeypatch, THERE | {"rich": "13.9.4"}, {"torch", "numpy"})
    packages.install_missing()
    assert machine.commands == [] and machine.killed == []


def test_only_what_is_missing_is_installed_and_what_is_used_is_held(monkeypatch, capsys):
    machine = Machine(monkeypatch, dict(THERE), {"torch", "numpy"})
    machine.gets = [{"rich": "14.0"}]
    packages.install_missing()
    [command] = machine.commands
    assert command[-1] == "rich>=13.9" and not any("torch" in word for word in command)
    assert machine.held == ["numpy==2.0.2\ntorch==2.10.0+cu126\n"]
    assert machine.killed == [] and capsys.readouterr().out == ""


def test_a_restart_is_said_beforehand(monkeypatch, capsys):
    machine = Machine(monkeypatch, THERE | {"rich": "12.0"}, {"torch", "rich"})
    machine.gets = [{"rich": "14.0"}]
    packages.install_missing()
    said = capsys.readouterr().out
    assert said.startswith("rich must be replaced, which this kernel already uses: it will restart")
    assert "This is meant" in said and "run this cell again" in said
    assert machine.killed == [os.getpid()] and "rich" not in machine.held[0]


def test_where_nothing_fits_only_torch_is_held(monkeypatch):
    machine = Machine(monkeypatch, dict(THERE), {"torch", "numpy"})
    machine.gets = [None, {"rich": "14.0", "numpy": "2.3"}]
    packages.install_missing()
    assert machine.held[1] == "torch==2.10.0+cu126\n"
    assert machine.killed == [os.getpid()]


def test_a_failure_says_the_way_on(monkeypatch):
    machine = Machine(monkeypatch, dict(THERE), {"torch"})
    machine.gets = [None, None]
    with pytest.raises(SystemExit, match=r"pip could not install rich>=13\.9.*Internet"):
        packages.install_missing()


def test_torch_is_never_installed(monkeypatch):
    machine = Machine(monkeypatch, THERE | {"torch": "2.6.0"}, {"torch"})
    with pytest.raises(SystemExit, match=r"%pip install 'torch>=2\.10'"):
        packages.install_missing()
    assert machine.commands == []


def test_the_pins_of_colab_and_kaggle_meet_the_lower_bounds():
    """What their images hold of what a kernel has imported when the first cell runs."""
    import tomllib

    from notebooks.reading import ROOT

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["notebooks"]
    bounds = {one.name: one for one in map(packages._requirement, lines)}
    pins = {"psutil": "5.9.5", "ipykernel": "6.17.1", "ipywidgets": "7.7.1", "rich": "13.9.4"}
    assert {n: v for n, v in pins.items() if not bounds[n].specifier.contains(v)} == {}
    assert "anywidget" not in bounds, "nothing uses it"
