"""Where a notebook runs, and how long its experiments may take: said once, in the first cell."""

import os
import shutil
import sys
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


def environment() -> Shown:
    """Show the machine: device, memory, disk, mode, and where things will lie.

    Returns:
        A small table.
    """
    import torch

    from workbench import __version__

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        device = f"{properties.name}, {_gib(properties.total_memory)}"
    else:
        device = f"CPU, {os.cpu_count()} cores: enough for critters, too slow for SD1.5 and SDXL"
    memory = psutil.virtual_memory()
    mode = "tiny: experiments are cut short (WORKBENCH_TINY=1)" if tiny() else "full"
    return table(
        {
            "where": {"": f"{place()}, Python {sys.version.split()[0]}"},
            "workbench": {"": f"{__version__}, torch {torch.__version__}"},
            "device": {"": device},
            "memory": {"": f"{_gib(memory.available)} free of {_gib(memory.total)}"},
            "disk": {"": f"{_gib(shutil.disk_usage(Path.cwd()).free)} free in {Path.cwd()}"},
            "experiments": {"": mode},
        }
    )


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"
