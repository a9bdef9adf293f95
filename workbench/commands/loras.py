"""`inspect`, `convert` and `merge`: LoRA files."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from workbench.commands.terminal import byte_size, say, table

LONG_VALUE = 100

LoraPath = Annotated[Path, typer.Argument(metavar="LORA", help="a .safetensors file.")]


def inspect(
    path: LoraPath,
    full: Annotated[
        bool, typer.Option("--full", help="print long metadata too, such as the recipe.")
    ] = False,
) -> None:
    """Say what a LoRA file holds: format, ranks, alphas, layers, how it was trained."""
    from workbench.adapters import formats

    lora = formats.read(path)
    size = byte_size(path.stat().st_size)
    say(f"{path}: {lora.format} format, {size}, {len(lora.layers)} layers")
    kinds = Counter((_part(name), x.rank, float(x.alpha)) for name, x in lora.layers.items())
    table(
        ("part", "rank", "alpha", "layers"),
        [(part, str(r), f"{a:g}", str(count)) for (part, r, a), count in sorted(kinds.items())],
    )
    for key, value in sorted(lora.metadata.items()):
        long = len(value) > LONG_VALUE and not full
        say(f"{key} = {f'({len(value)} characters, --full shows them)' if long else value}")


def convert(
    path: LoraPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="file to write.")],
    to: Annotated[Literal["kohya", "peft"], typer.Option(help="format to write.")],
    base: Annotated[
        str | None, typer.Option(help="the base model; SDXL's names cannot do without.")
    ] = None,
) -> None:
    """Write a LoRA file in another format; the values stay as they are."""
    from workbench.adapters import formats
    from workbench.models import family as models
    from workbench.settings import SettingsError

    if out.exists():
        raise SettingsError(f"{out} exists; name a new file")
    if base is None:
        formats.convert(path, out, to=to)
    else:
        family = models.load(models.BaseSettings(path=base))
        formats.convert(path, out, to=to, parts=family.parts, name_of=family.kohya_name)
    say(str(out))


def merge(
    path: LoraPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the merged model.")],
    base: Annotated[
        str | None, typer.Option(help="the base model, where it is not what the file says.")
    ] = None,
    strength: Annotated[float, typer.Option(help="1 is as trained, 0 the base.")] = 1.0,
) -> None:
    """Add a LoRA to its base's weights and write the whole model in diffusers layout."""
    from workbench.adapters import merge as merging
    from workbench.evaluation import loading
    from workbench.settings import SettingsError

    if out.exists():
        raise SettingsError(f"{out} exists; name a new folder")
    trained = loading.open_lora(path, base=base)
    trained.adapter.detach()
    family = trained.family
    merged = merging.merge(family.parts, path, strength, name_of=family.kohya_name)
    if merged.note:
        say(merged.note, style="yellow")
    family.pipeline().save_pretrained(out)
    say(str(out))


def _part(name: str) -> str:
    """`unet` of `lora_unet_down_blocks_0` (kohya) or `unet.down_blocks.0` (PEFT)."""
    return name.partition(".")[0] if "." in name else name.split("_")[1]
