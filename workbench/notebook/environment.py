"""Where a notebook runs, and how long its experiments may take: said once, in the first cell."""

import os
import shutil
import sys
import time
from pathlib import Path

import psutil

from workbench.notebook.shown import Shown, table
from workbench.recipe import Recipe

# What WORKBENCH_TINY=1 makes of every run: the same code on the same model, in a few seconds.
TINY = (
    "length.steps=4",
    "training.batch_size=2",
    "sampling.steps=2",
    "sampling.seeds=[0]",
    "sampling.width=64",
    "sampling.height=64",
    "validation.num_images=1",
    "validation.draws=1",
)

_LOOK_S = 0.3  # how long others' use of the cores is watched
_ADDITIONS = 2_000_000
_REFERENCE_S = 0.028  # a million additions on the idle core that times are of; 0.05 beside others


def tiny() -> bool:
    """Say whether experiments are cut short: tests set WORKBENCH_TINY=1, a learner does not.

    Returns:
        True in tiny mode; its pictures and numbers show that the code runs, and nothing more.
    """
    return os.environ.get("WORKBENCH_TINY") == "1"


def short(recipe: Recipe) -> Recipe:
    """Keep a recipe as it is, or cut it down in tiny mode.

    Args:
        recipe: of an experiment.
    Returns:
        The recipe to run.
    """
    return recipe.override(TINY) if tiny() else recipe


def few(full: int, *, tiny_count: int) -> int:
    """Choose how many of anything an experiment makes.

    Args:
        full: how many it needs to show something.
        tiny_count: how many do in tiny mode.
    Returns:
        One of the two.
    """
    return tiny_count if tiny() else full


def place() -> str:
    """Recognise where the notebook runs.

    Returns:
        "Colab", "Kaggle" or "local".
    """
    if "google.colab" in sys.modules:
        return "Colab"
    return "Kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in os.environ else "local"


def cores() -> int:
    """Count the cores that this process may use.

    Returns:
        At least 1; a container's share of a larger machine where that is known.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_free_cores() -> int:
    """Let torch use as many threads as cores are idle, in this process and those it starts.

    Two threads on two cores that others use wait for one another at every operation: a step then
    took twenty times as long as with one thread. OMP_NUM_THREADS, where it is set, is left alone.

    Returns:
        The number of threads.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        busy = psutil.cpu_percent(interval=_LOOK_S) / 100 * (os.cpu_count() or 1)
        threads = max(1, min(cores(), round(cores() - busy)))
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def pace() -> float:
    """Compare this machine, as busy as it is now, with the idle core that the texts' times are of.

    Returns:
        By how much to multiply those times.
    """
    began, total = time.perf_counter(), 0
    for k in range(_ADDITIONS):
        total += k
    return (time.perf_counter() - began) / (_ADDITIONS * _REFERENCE_S / 1_000_000)


def environment() -> Shown:
    """Show the machine: device, memory, disk, mode, pace, and where things will lie.

    Returns:
        A small table.
    """
    import torch

    from workbench import __version__

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        device = f"{properties.name}, {_gib(properties.total_memory)}"
    else:
        used = f"{cores()} cores, threads in use: {use_free_cores()}"
        device = f"CPU, {used}: enough for critters, too slow for SD1.5 and SDXL"
    memory = psutil.virtual_memory()
    mode = "tiny: experiments are cut short (WORKBENCH_TINY=1)" if tiny() else "full"
    return table(
        {
            "where": {"": f"{place()}, Python {sys.version.split()[0]}"},
            "workbench": {"": f"{__version__}, torch {torch.__version__}"},
            "device": {"": device},
            "memory": {"": f"{_gib(memory.available)} free of {_gib(memory.total)}"},
            "disk": {"": f"{_gib(shutil.disk_usage(Path.cwd()).free)} free in {Path.cwd()}"},
            "pace": {"": f"{pace():.1f} times as long as this course says, on the CPU"},
            "experiments": {"": mode},
        }
    )


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
