"""Which weights learn, and the files that hold what was learned."""

from typing import Annotated

from pydantic import Field

from workbench.adapters.attached import AttachedAdapter
from workbench.adapters.formats import attach_file, convert, read, write
from workbench.adapters.full import Full
from workbench.adapters.loha import LoHa
from workbench.adapters.lokr import LoKr
from workbench.adapters.lora import LoRA

Adapter = Annotated[LoRA | LoHa | LoKr | Full, Field(discriminator="kind")]

__all__ = [
    "Adapter",
    "AttachedAdapter",
    "Full",
    "LoHa",
    "LoKr",
    "LoRA",
    "attach_file",
    "convert",
    "read",
    "write",
]
