"""Cost, and what the machine tells of itself."""

import os
import stat
import sys
import threading
from pathlib import Path

import psutil
import pytest
from workspace_fakes import until

from workbench.records.events import Event, Finished, Progress, Started
from workbench.workspace import readings as module
from workbench.workspace.meter import Cost, cost
from workbench.workspace.readings import Readings, device_readings, readings


def test_cost_is_time_lived_and_time_to_come():
    start = Started(run="x", recipe_hash="0", total_steps=9, elapsed_s=4)
    step = Progress(step=1, loss=1.0, eta_s=3000, elapsed_s=600)
    end: Event = Finished(step=9, elapsed_s=3600)
    assert cost([], 2.0) == Cost(0.0, None, 2.0)
    assert cost([start], 3600.0) == Cost(4.0, None, 3600.0)
    assert cost([start, step], 2.0) == Cost(pytest.approx(1 / 3), pytest.approx(2.0), 2.0)
    assert cost([start, step, end], 2.0) == Cost(2.0, 2.0, 2.0)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Latest, "readings", None)
    monkeypatch.setattr(module._Latest, "device", Readings())


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a driver's tool into the path."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!{sys.executable}\n{script}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(sys.platform == "win32", reason="scripts")
def test_the_drivers_answer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None):
    smi(
        tmp_path,
        monkeypatch,
        "import sys; assert sys.argv[-2:] == ['-i', '1'];"
        "print('NVIDIA Test, 1024, 8192, 61, 97'); print('Other, 1, 2, 3, 4')",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    found = device_readings()
    assert found == Readings("NVIDIA Test", 1024, 8192, 61, 0.97)
    monkeypatch.setattr(module, "FRESH_S", 0.0)
    assert until(lambda: readings().device) == "NVIDIA Test"


@pytest.mark.skipif(sys.platform == "win32", reason="scripts")
@pytest.mark.parametrize(
    ("script", "used"),
    [
        ("print('Card, [N/A], 8192, [Not Supported], 5')", None),
        ("raise SystemExit(9)", None),
        ("print('No devices were found')", None),
        ("import time; time.sleep(60)", None),
        ("print('Card, 7, 8192, , 5')", 7),
    ],
)
def test_a_driver_that_does_not_answer_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, used: int | None
):
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.5)
    smi(tmp_path, monkeypatch, script)
    found = device_readings()
    assert found.device_used_mib == used
    assert found.device_temperature_c is None


def test_memory_of_the_system_or_of_its_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh: None
):
    total_mib = psutil.virtual_memory().total / 2**20
    monkeypatch.setattr(module, "_CGROUP", tmp_path)
    assert readings().ram_total_mib == total_mib
    (tmp_path / "memory.max").write_text(str(512 * 2**20))
    (tmp_path / "memory.current").write_text(str(300 * 2**20))
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {100 * 2**20}\nactive_file 2\n")
    assert readings().ram_total_mib == total_mib, "kept for two seconds"
    monkeypatch.setattr(module._Latest, "readings", None)
    assert (readings().ram_used_mib, readings().ram_total_mib) == (200, 512)
    (tmp_path / "memory.max").write_text("max")
    monkeypatch.setattr(module._Latest, "readings", None)
    assert readings().ram_total_mib == total_mib


def test_a_system_without_figures_raises_nothing(monkeypatch: pytest.MonkeyPatch, fresh: None):
    def broken() -> None:
        raise OSError("no such file")

    monkeypatch.setattr(psutil, "virtual_memory", broken)
    monkeypatch.setattr(psutil, "sensors_temperatures", broken, raising=False)
    monkeypatch.setenv("PATH", "")
    assert readings() == Readings()


def test_many_pages_ask_at_once(monkeypatch: pytest.MonkeyPatch, fresh: None):
    count = []
    monkeypatch.setattr(module, "_ram", lambda: (count.append(1), (1.0, 2.0))[1])
    pages = [threading.Thread(target=readings) for _ in range(8)]
    for page in pages:
        page.start()
    for page in pages:
        page.join()
    assert len(count) == 1
