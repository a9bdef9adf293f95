"""`inspect`, `convert` and `merge`: LoRA files."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.commands.terminal import byte_size, say, table

LoraPath = Annotated[Path, typer.Argument(metavar="LORA", help="a .safetensors file.")]


def inspect(
    path: LoraPath,
    metadata: Annotated[bool, typer.Option("--metadata", help="all metadata.")] = False,
) -> None:
    """Say what a LoRA file holds: format, ranks, alphas, layers, how it was trained."""
    from workbench.adapters import formats

    lora = formats.read(path)
    say(
        f"{path}: {lora.format} format, {byte_size(path.stat().st_size)}, {len(lora.layers)} layers"
    )
    kinds = Counter(
        (_part(name), layer.rank, float(layer.alpha)) for name, layer in lora.layers.items()
    )
    rows = [(p, str(r), f"{a:g}", str(count)) for (p, r, a), count in sorted(kinds.items())]
    table(("part", "rank", "alpha", "layers"), rows)
    shown = lora.metadata if metadata else {k: v for k, v in lora.metadata.items() if len(v) <= 80}
    for key, value in sorted(shown.items()):
        say(f"{key} = {value}")


def convert(
    path: LoraPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="file to write.")],
    to: Annotated[Literal["kohya", "peft"], typer.Option(help="format to write.")],
) -> None:
    """Write a LoRA file in another format."""
    from workbench.adapters import formats

    formats.convert(path, out, to=to)
    say(str(out))


def merge(
    path: LoraPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the merged model.")],
    base: Annotated[
        str | None, typer.Option(help="the base model; the recorded one by default.")
    ] = None,
    strength: Annotated[float, typer.Option(help="1 is as trained, 0 the base.")] = 1.0,
) -> None:
    """Add a LoRA to its base model's weights and write the whole model, in diffusers layout."""
    from workbench.adapters import merge as merging
    from workbench.evaluation import loading

    _refuse_full(out)
    trained = loading.open_lora(path, base=base)
    trained.adapter.detach()
    family = trained.family
    merging.merge(family.parts, path, strength, family.kohya_name)
    family.pipeline().save_pretrained(out)
    say(str(out))


def _part(name: str) -> str:
    """`unet` of `lora_unet_down_blocks_0` (kohya) or `unet.down_blocks.0` (PEFT)."""
    return name.split("_")[1] if "." not in name else name.partition(".")[0]


def _refuse_full(folder: Path) -> None:
    from workbench.settings import SettingsError

    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder} is not empty; name a new folder")
