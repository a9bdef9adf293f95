"""Optimizers, each with the defaults that the field found to work for LoRA.

Every member of the union builds a `torch.optim.Optimizer` from groups of parameters. Its state is
made of tensors and plain numbers, so that a checkpoint holds it without a pickle and a resumed run
continues bit for bit.
"""

from typing import Annotated

from pydantic import Field

from workbench.optim.adam import AdamW, AdamW8bit, PagedAdamW8bit
from workbench.optim.base import OptimizerSettings
from workbench.optim.custom import Custom
from workbench.optim.factored import CAME, Adafactor
from workbench.optim.finding import DAdaptation, Prodigy
from workbench.optim.lion import Lion, Lion8bit
from workbench.optim.muon import Muon
from workbench.optim.schedule_free import ScheduleFree

__all__ = [
    "CAME",
    "Adafactor",
    "AdamW",
    "AdamW8bit",
    "Custom",
    "DAdaptation",
    "Lion",
    "Lion8bit",
    "Muon",
    "Optimizer",
    "OptimizerSettings",
    "PagedAdamW8bit",
    "Prodigy",
    "ScheduleFree",
]

Optimizer = Annotated[
    AdamW
    | AdamW8bit
    | PagedAdamW8bit
    | Prodigy
    | DAdaptation
    | Adafactor
    | CAME
    | Lion
    | Lion8bit
    | Muon
    | ScheduleFree
    | Custom,
    Field(discriminator="kind"),
]
