"""`sample`, `compare` and `verify`: pictures, the A/B report, and the reload proof."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.terminal import complain, say

Trained = Annotated[
    Path, typer.Argument(metavar="RUN-OR-LORA", help="a run folder, or a .safetensors file.")
]
Base = Annotated[str | None, typer.Option(help="the base model; what was trained on, by default.")]


def verify(trained: Trained, base: Base = None) -> None:
    """Prove that a saved LoRA is what was trained: reload it and compare rung by rung."""
    from workbench.evaluation import parity

    proof = parity.verify(trained, base=base)
    for row in proof.rows:
        mark = "ok    " if row.passed else "FAILED"
        style = "bold red" if not row.passed else "yellow" if row.warning else None
        say(f"{mark} {row.name}: {row.explanation}", style=style)
    if not proof.passed:
        complain(f"{proof.path} is not what was trained")
        raise typer.Exit(1)
    say(f"{proof.path} is what was trained.")


def compare(
    trained: Trained,
    base: Base = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for report.html; the run's by default.")
    ] = None,
) -> None:
    """Draw the same prompts and seeds with base and LoRA, and write the A/B report."""


def sample() -> None:
    """x."""
