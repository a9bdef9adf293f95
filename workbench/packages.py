"""What a notebook's first cell installs: only what is missing, and nothing that the kernel uses.

Standard library alone: this runs before anything that it installs. `packaging` is read from pip
where it is not installed by itself.
"""

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "lora-workbench"
_RESTART = (
    "The kernel will restart now, because {changed} changed while it was in use. This is meant: "
    "wait until it is back, then run this cell again."
)


def missing(distribution: str = NAME) -> list[str]:
    """List what the package needs and this machine lacks.

    Args:
        distribution: whose requirements are read, without its extras.
    Returns:
        Requirements that no installed version meets, "psutil>=5.9".
    """
    found = [_requirement(line) for line in requires(distribution) or ()]
    # `evaluate` knows no extra here, so what only an extra needs does not count.
    needed = [one for one in found if not one.marker or one.marker.evaluate({"extra": ""})]
    return [str(one) for one in needed if not _is_met(one)]


def install_missing() -> None:
    """Install what is missing, never torch, and restart the kernel only where that is needed.

    Raises:
        SystemExit: torch is missing or too old, or pip failed; it says what to do.
    """
    wanted = missing()
    if not wanted:
        return
    torch = [one for one in wanted if _requirement(one).name == "torch"]
    if torch:
        raise SystemExit(
            f"This needs {torch[0]}, built for this machine's driver, and does not install it by "
            f"itself. Run `%pip install {torch[0]!r}` in a cell of its own, restart the kernel, "
            "then run this cell again."
        )
    used = in_use()
    outdated = sorted({_requirement(one).name for one in wanted} & used.keys())
    if outdated:
        print(  # noqa: T201
            f"{', '.join(outdated)} must be replaced, which this kernel already uses: it will "
            "restart when that is done. Then run this cell again."
        )
    fixed = {name: number for name, number in used.items() if name not in outdated}
    if not _pip(wanted, fixed):
        print("No set of versions fits what this kernel uses: it will restart.")  # noqa: T201
        torch_alone = {name: number for name, number in fixed.items() if name == "torch"}
        if not _pip(wanted, torch_alone):
            raise SystemExit(
                f"pip could not install {', '.join(wanted)}; its own words stand above. Is this "
                "machine connected (on Kaggle: Settings, Internet)? Otherwise choose the newest "
                "runtime, and run this cell again."
            )
    importlib.invalidate_caches()
    changed = sorted(name for name, number in used.items() if _version(name) != number)
    if changed:
        print(_RESTART.format(changed=", ".join(changed)), flush=True)  # noqa: T201
        os.kill(os.getpid(), 9)


def in_use() -> dict[str, str]:
    """List the distributions that this process has imported something of.

    Returns:
        Name to version.
    """
    owners = packages_distributions()
    modules = {module.partition(".")[0] for module in [*sys.modules]}
    names = {name for module in modules for name in owners.get(module, ())} - {NAME}
    if _version("torch"):
        names.add("torch")  # imported or not: it fits the driver
    return {name: number for name in sorted(names) if (number := _version(name))}


def _pip(wanted: Sequence[str], fixed: dict[str, str]) -> bool:
    """Whether pip could install, holding the fixed ones at their version."""
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder, "held.txt")
        held.write_text("".join(f"{name}=={number}\n" for name, number in fixed.items()))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(held), *wanted]
        return subprocess.run(command, check=False).returncode == 0


def _requirement(line: str) -> "Requirement":
    try:
        module = importlib.import_module("packaging.requirements")
    except ImportError:  # pip carries a copy
        module = importlib.import_module("pip._vendor.packaging.requirements")
    return module.Requirement(line)


def _is_met(one: "Requirement") -> bool:
    number = _version(one.name)
    return number is not None and one.specifier.contains(number, prereleases=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
