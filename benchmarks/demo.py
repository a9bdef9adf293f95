"""Wall time and peak memory of `workbench demo`, and the time until `workbench --help` answers.

    python benchmarks/demo.py

Claims: at most 60 s on two cores, 2 GiB, one process; help in at most 0.5 s. The processor time is
printed too: much more wall time than processor time per core means that the machine was busy.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
MAX_DEMO_S, MAX_MEMORY_BYTES, MAX_HELP_S = 60, 2 << 30, 0.5


def measure(arguments: list[str], folder: Path) -> tuple[float, float, int, str]:
    """Run one command.

    Args:
        arguments: of `workbench`.
        folder: where it runs.
    Returns:
        Wall and processor time in s, peak memory of it and its children in bytes, its output.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "WORKBENCH_HOME": str(folder / "home")}
    began, before = time.perf_counter(), os.times()
    with open(folder / "output.txt", "w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *arguments],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(0.05)
        wall_s = time.perf_counter() - began
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        sys.exit(f"workbench {' '.join(arguments)} ended with {process.returncode}:\n{text}")
    after = os.times()
    cpu_s = after.children_user + after.children_system
    return wall_s, cpu_s - before.children_user - before.children_system, peak, text


def _memory(pid: int) -> int:
    """Resident memory of a process and its children, bytes."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in family)
    except psutil.NoSuchProcess:
        return 0


def main() -> None:
    """Measure both and say whether the claims hold."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        helps = [measure(["--help"], folder)[0] for _ in range(5)]
        demo_s, cpu_s, peak, output = measure(["demo"], folder)
    print(output)
    results = (
        ("help", min(helps), MAX_HELP_S, "s, best of 5"),
        ("demo", demo_s, MAX_DEMO_S, f"s wall ({cpu_s:.1f} s of processor time)"),
        ("peak memory", peak / 2**20, MAX_MEMORY_BYTES / 2**20, "MiB"),
    )
    for title, value, limit, unit in results:
        verdict = "holds" if value <= limit else "FAILS"
        print(f"{title}: {value:.4g} {unit}; at most {limit:g}: {verdict}")
    sys.exit(any(value > limit for _, value, limit, _ in results))


if __name__ == "__main__":
    main()
