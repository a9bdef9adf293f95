"""Which weights learn, and the files that hold what was learned."""

from typing import Annotated

from pydantic import Field

from workbench.adapters.formats import attach_file, convert, read, write
from workbench.adapters.full import Full
from workbench.adapters.lora import AttachedAdapter, LoRA

Adapter = Annotated[LoRA | Full, Field(discriminator="kind")]

__all__ = [
    "Adapter",
    "AttachedAdapter",
    "Full",
    "LoRA",
    "attach_file",
    "convert",
    "read",
    "write",
]
