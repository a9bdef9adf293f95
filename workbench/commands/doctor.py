"""`doctor`: does this machine fit, and what to do where it does not."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from workbench.commands.terminal import byte_size, say

# Oldest versions that work, as in pyproject.toml; torch for its fixed vulnerabilities.
MIN_PYTHON = (3, 11)
MIN_TORCH = (2, 10)
MIN_PILLOW = (11, 3)
# Caches, checkpoints and a report of the demo; a real model's run needs what `check` says.
MIN_FREE_BYTES = 2 << 30
MIN_MEMORY_BYTES = 3 << 30
# CUDA generation to the oldest driver that runs it: NVIDIA's compatibility table, Linux.
OLDEST_DRIVERS = {"11": "450.80", "12": "525.60", "13": "580.65"}


@dataclass(frozen=True, slots=True)
class Line:
    """What was looked at, what was found, and the fix where it does not fit.

    Attributes:
        wrong: something will fail; a line with a fix that is not wrong is only a hint.
    """

    name: str
    found: str
    fix: str = ""
    wrong: bool = False


def doctor() -> None:
    """Look at this machine: versions, GPU and driver, memory, disk, image decoders."""
    wrong = False
    for line in examine():
        mark, style = _mark(line)
        say(f"{mark} {line.name + ':':<15} {line.found}", style=style)
        if line.fix:
            say(f"  {'':<15} fix: {line.fix}", style=style)
        wrong = wrong or line.wrong
    say("Some of it does not work yet: see above." if wrong else "This machine fits.")
    raise typer.Exit(1 if wrong else 0)


def _mark(line: Line) -> tuple[str, str | None]:
    if line.wrong:
        return "x", "bold red"
    return ("!", "yellow") if line.fix else (" ", None)


def examine() -> Iterator[Line]:
    """Look at everything that the workbench depends on.

    Yields:
        One line a thing.
    """
    version = platform.python_version()
    old = sys.version_info[:2] < MIN_PYTHON
    fix = "install Python 3.11 or newer" if old else ""
    yield Line("python", f"{version} on {platform.platform(terse=True)}", fix, old)
    for look in (_torch, _gpu, _torchvision, _libraries, _decoders, _memory, _disk):
        yield from look()


def _torch() -> Iterator[Line]:
    torch = _imported("torch")
    if isinstance(torch, Exception):
        yield Line("torch", f"cannot be imported: {torch}", "reinstall torch", wrong=True)
        return
    old = _version(torch.__version__) < MIN_TORCH
    fix = "pip install -U torch: versions before 2.10 have known vulnerabilities" if old else ""
    cores = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    yield Line("torch", f"{torch.__version__}, {cores}", fix, old)


def _gpu() -> Iterator[Line]:
    torch = _imported("torch")
    if isinstance(torch, Exception):
        return
    driver = _driver()
    if not torch.cuda.is_available():
        yield _without_cuda(torch, driver)
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        name = f"{properties.name}, {byte_size(properties.total_memory)}"
        yield Line("gpu", f"{name}, driver {driver}, CUDA {torch.version.cuda}")
        yield from _architecture(torch, index)


def _without_cuda(torch: Any, driver: str | None) -> Line:
    if torch.backends.mps.is_available():
        return Line("gpu", "Apple GPU (mps)")
    if driver is None:
        return Line("gpu", "none found: training runs on the CPU, which critters is made for")
    if torch.version.cuda is None:
        fix = "install a torch with CUDA: `pip install torch` in a new environment"
        return Line("gpu", f"driver {driver}, but torch {torch.__version__} has no CUDA", fix, True)
    oldest = OLDEST_DRIVERS.get(torch.version.cuda.split(".")[0], "")
    if oldest and _version(driver) < _version(oldest):
        fix = f"update the driver to {oldest} or newer, or take a torch for an older CUDA"
        return Line("gpu", f"driver {driver} is too old for CUDA {torch.version.cuda}", fix, True)
    fix = "check CUDA_VISIBLE_DEVICES; restart after a driver update"
    return Line("gpu", f"driver {driver}, but torch sees no device", fix, wrong=True)


def _architecture(torch: Any, index: int) -> Iterator[Line]:
    """Whether torch was built for this GPU: kernels of one generation run on its later members."""
    major, minor = torch.cuda.get_device_capability(index)
    built = [name for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    numbers = [int(name.removeprefix("sm_").rstrip("af")) for name in built]
    if not any(n // 10 == major and n % 10 <= minor for n in numbers):
        fix = "take a torch built for it (older GPUs: a build for an older CUDA)"
        found = f"sm_{major}{minor} is not among {', '.join(built)}"
        yield Line("gpu kernels", found, fix, wrong=True)


def _driver() -> str | None:
    """Version of NVIDIA's driver; None where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.split("\n")[0].strip() or None


def _torchvision() -> Iterator[Line]:
    """Not needed; but one that does not fit torch breaks the import of transformers."""
    if importlib.util.find_spec("torchvision") is None:
        return
    found = _imported("torchvision")
    if isinstance(found, Exception):
        fix = "pip uninstall torchvision (nothing here needs it), or install the one for this torch"
        yield Line("torchvision", f"does not fit torch: {found}", fix, wrong=True)


def _libraries() -> Iterator[Line]:
    from importlib.metadata import version

    names = ("diffusers", "transformers", "accelerate", "peft", "gradio")
    yield Line("libraries", ", ".join(f"{n} {version(n)}" for n in names))
    broken = _imported("bitsandbytes")
    if isinstance(broken, Exception):
        yield Line("8-bit AdamW", f"not available: {broken}", "choose another optimizer")


def _decoders() -> Iterator[Line]:
    from PIL import __version__, features

    old = _version(__version__) < MIN_PILLOW
    fix = "pip install -U Pillow: versions before 11.3 have known vulnerabilities" if old else ""
    kinds = {"JPEG": "jpg", "PNG": "zlib", "WebP": "webp"}
    missing = [name for name, feature in kinds.items() if not features.check(feature)]
    there = [name for name in kinds if name not in missing]
    yield Line("pictures", f"Pillow {__version__} reads {', '.join(there)}", fix, old)
    if missing:
        fix = "reinstall Pillow from a wheel: `pip install --force-reinstall Pillow`"
        yield Line("pictures", f"no decoder for {', '.join(missing)}", fix, wrong=True)


def _memory() -> Iterator[Line]:
    import psutil

    memory = psutil.virtual_memory()
    small = memory.available < MIN_MEMORY_BYTES
    fix = "close other programs: the demo alone takes 2 GiB" if small else ""
    yield Line(
        "memory", f"{byte_size(memory.available)} free of {byte_size(memory.total)}", fix, small
    )


def _disk() -> Iterator[Line]:
    from workbench import store

    for name, folder in (("runs", Path.cwd()), ("cache", store.cache_home())):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        small, sealed = free < MIN_FREE_BYTES, not os.access(there, os.W_OK)
        fix = (
            "free some space"
            if small
            else "choose a folder that you may write to"
            if sealed
            else ""
        )
        found = f"{byte_size(free)} free in {folder}" + (", not writable" if sealed else "")
        yield Line(f"disk for {name}", found, fix, small or sealed)


def _imported(name: str) -> Any:
    """The module, or the exception that its import raised: here that is a finding."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken binary raises anything
        return error


def _version(text: str) -> tuple[int, int]:
    """The first two numbers of a version."""
    first, second, *_ = [*text.split("+")[0].split("."), "0"]
    return int(first), int(second)
