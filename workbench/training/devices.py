"""Device, precision and the processes that train together, by accelerate."""

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from workbench.recipe import Recipe
from workbench.settings import SettingsError

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

__all__ = ["make_accelerator", "processes"]

_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def processes() -> "PartialState":
    """The processes that train together, as torchrun or accelerate launched them.

    Returns:
        accelerate's `PartialState`: rank, number of processes, device.
    """
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # The other processes wait while the first fills the caches and draws the samples.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timedelta(hours=12))


def make_accelerator(recipe: Recipe, folder: Path) -> "Accelerator":
    """Choose device, precision and processes, as the environment and the recipe say.

    Args:
        recipe: `training` and `trackers`.
        folder: of the run, where trackers may write.
    Returns:
        accelerate's `Accelerator`.
    Raises:
        SettingsError: the precision is not for this device.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    precision = recipe.training.precision
    # accelerate keeps the first precision of a process for ever; each run brings its own.
    AcceleratorState._reset_state()
    device = processes().device
    assert device is not None
    if precision == "float16" and device.type == "cpu":
        raise SettingsError(
            "training.precision must be float32 or bfloat16 on a CPU, got 'float16'; "
            "float16 needs a GPU that scales the loss"
        )
    native = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bfloat16" and not native:
        raise SettingsError(
            "training.precision = 'bfloat16' is only emulated on "
            f"{torch.cuda.get_device_name()}; set base.dtype=float16 training.precision=float16, "
            "or float32 for a flow-matching base"
        )
    if recipe.training.deterministic:
        # Without it cuBLAS refuses every matrix product under deterministic algorithms.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(recipe.training.deterministic)
    return Accelerator(
        mixed_precision=_MIXED[precision],
        log_with=list(recipe.trackers) or None,
        project_dir=str(folder / "trackers"),
        kwargs_handlers=[DistributedDataParallelKwargs()],
    )
