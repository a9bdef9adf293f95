"""`bundle`: a LoRA with all that somebody needs who is given it."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.terminal import say


def bundle(
    path: Annotated[
        Path, typer.Argument(metavar="RUN-OR-LORA", help="a run folder, or a LoRA's .safetensors.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="folder or .zip file to write; NAME-bundle by default."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="the base model, where it is not what the file says.")
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(help="of the LoRA, as the Hugging Face Hub spells it, such as cc-by-4.0."),
    ] = None,
) -> None:
    """Pack a LoRA with preview, settings for A1111, a ComfyUI workflow and a model card.

    The preview is the run's last sample; a LoRA away from its run draws one on its base.
    """
    from workbench.evaluation.bundle import write_bundle

    target = out or Path(f"{path.resolve().name.removesuffix('.safetensors')}-bundle")
    written = write_bundle(path, target, base=base, license=license)
    say(str(written))
    if written.is_dir():
        for file in sorted(written.iterdir()):
            say(f"  {file.name}")
