"""What the machine says of itself: memory and temperature, where it tells, at no cost for a poll.

torch is not asked: it would take its own share of the device's memory, beside the trainer.
"""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

FRESH_S = 2.0
_TIMEOUT_S = 5.0  # a driver that hangs must not hang the app
_CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal")
_CGROUP = Path("/sys/fs/cgroup")
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Readings:
    """Figures of this moment; None where the system does not tell.

    Attributes:
        device: the GPU's name.
        device_used_mib: of its memory, by all processes.
        device_total_mib: its memory.
        device_temperature_c: degrees Celsius.
        device_load: how busy it is, 0 to 1.
        ram_used_mib: of the memory that this system or container may use.
        ram_total_mib: that memory.
        cpu_temperature_c: degrees Celsius, of its hottest sensor.
    """

    device: str | None = None
    device_used_mib: float | None = None
    device_total_mib: float | None = None
    device_temperature_c: float | None = None
    device_load: float | None = None
    ram_used_mib: float | None = None
    ram_total_mib: float | None = None
    cpu_temperature_c: float | None = None


class _Latest:
    """The figures as last read, and whether they are being read anew."""

    readings: Readings | None = None
    device = Readings()
    at = 0.0
    lock = threading.Lock()
    asking = False


def readings() -> Readings:
    """Read the machine's figures, or give those of the last two seconds.

    Returns:
        Figures. The GPU's are those of the call before: its driver is asked meanwhile, since it
        takes longer to answer than a poll may.
    """
    with _Latest.lock:
        if _Latest.readings is None or time.monotonic() - _Latest.at > FRESH_S:
            _Latest.at = time.monotonic()
            _ask_device()
            used, total = _ram()
            _Latest.readings = replace(
                _Latest.device,
                ram_used_mib=used,
                ram_total_mib=total,
                cpu_temperature_c=_cpu_temperature(),
            )
        return _Latest.readings


def _ask_device() -> None:
    """Ask the driver in a thread of its own, unless the last answer is still awaited."""
    if _Latest.asking or shutil.which("nvidia-smi") is None:
        return
    _Latest.asking = True

    def ask() -> None:
        try:
            _Latest.device = device_readings()
        finally:
            _Latest.asking = False

    threading.Thread(target=ask, name="device readings", daemon=True).start()


def device_readings() -> Readings:
    """Ask NVIDIA's driver for the first GPU that trainings may see.

    Returns:
        The device's figures; none where there is no such driver, or it does not answer.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    fields = "name,memory.used,memory.total,temperature.gpu,utilization.gpu"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    command += ["-i", visible] if visible else []
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return Readings()
    cells = [cell.strip() for cell in done.stdout.partition("\n")[0].split(",")]
    if done.returncode != 0 or len(cells) != 5:
        return Readings()
    name, *rest = cells
    used, total, temperature, load = map(_number, rest)
    return Readings(
        device=name,
        device_used_mib=used,
        device_total_mib=total,
        device_temperature_c=temperature,
        device_load=None if load is None else load / 100,
    )


def _number(cell: str) -> float | None:
    """A figure; "[N/A]" where this card has no such sensor."""
    try:
        return float(cell)
    except ValueError:
        return None


def _ram() -> tuple[float | None, float | None]:
    """Used and total MiB: those of the container where it has a limit of its own."""
    try:
        memory = psutil.virtual_memory()
    except (OSError, RuntimeError, psutil.Error):
        return None, None
    used, total = memory.total - memory.available, memory.total
    with contextlib.suppress(OSError, ValueError):  # "max", or no such files: no limit
        limit = int((_CGROUP / "memory.max").read_text())
        if limit < total:
            lines = (_CGROUP / "memory.stat").read_text().splitlines()
            cached = next(
                int(x.split()[1]) for x in [*lines, "inactive_file 0"] if "inactive_file" in x
            )
            used, total = int((_CGROUP / "memory.current").read_text()) - cached, limit
    return used / _MIB, total / _MIB


def _cpu_temperature() -> float | None:
    if not hasattr(psutil, "sensors_temperatures"):  # macOS, Windows
        return None
    try:
        sensors = psutil.sensors_temperatures()
    except (OSError, RuntimeError, ValueError, psutil.Error):
        return None
    found = [one.current for name in _CPU_SENSORS for one in sensors.get(name, ())]
    return max(found, default=None)
