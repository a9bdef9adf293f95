"""`inspect`, `convert` and `merge`: LoRA files."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from workbench.commands.terminal import byte_size, say, table

LONG_VALUE = 100
NOTICEABLE = 0.05  # share of the change that a plain LoRA may miss without a colour

LoraPath = Annotated[
    Path, typer.Argument(metavar="LORA", help="a .safetensors file, or a folder with one.")
]


def inspect(
    path: LoraPath,
    full: Annotated[
        bool, typer.Option("--full", help="print long metadata too, such as the recipe.")
    ] = False,
) -> None:
    """Say what a LoRA file holds: format, methods, ranks, alphas, layers, how it was trained."""
    from workbench.adapters import formats
    from workbench.adapters.files import model_for
    from workbench.adapters.folders import weights_files

    lora = formats.read(path)
    files = weights_files(path) if path.is_dir() else [path]
    size = byte_size(sum(file.stat().st_size for file in files))
    say(f"{path}: {lora.format} format, {size}, {len(lora.layers)} layers")
    if made := model_for(lora):
        say(f"made for {made.what} (known by {made.by})")
    kinds = Counter(
        (_part(name), _method(x), x.rank, float(x.alpha)) for name, x in lora.layers.items()
    )
    table(
        ("part", "method", "rank", "alpha", "layers"),
        [
            (part, m, str(r), f"{a:g}", str(count))
            for (part, m, r, a), count in sorted(kinds.items())
        ],
    )
    for key, value in sorted(lora.metadata.items()):
        long = len(value) > LONG_VALUE and not full
        say(f"{key} = {f'({len(value)} characters, --full shows them)' if long else value}")


def convert(
    path: LoraPath,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="file to write.")],
    to: Annotated[Literal["kohya", "peft"], typer.Option(help="format to write.")],
    base: Annotated[
        str | None,
        typer.Option(help="the base model, where it is none of SD 1.x, 2.x or SDXL's structure."),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(min=1, help="write the nearest plain LoRA of this rank.")
    ] = None,
) -> None:
    """Write a LoRA file in another format, or as a plain LoRA of some rank.

    The values stay as they are; with --rank the nearest plain LoRA is written, of any method, and
    what that loses is said.
    """
    from workbench.adapters import formats, reduce
    from workbench.adapters.peft_format import comfyui_note
    from workbench.settings import SettingsError

    if out.exists():
        raise SettingsError(f"{out} exists; name a new file")
    names = _named_by(path, base=base, to=to, weights=rank is not None)
    if rank is None:
        formats.convert(path, out, to=to, **names)
    else:
        _say_lost(reduce.reduce(path, out, rank=rank, to=to, **names), rank)
    if to == "peft" and (note := comfyui_note(formats.read(out).layers)):
        say(note, style="yellow")
    say(str(out))


def merge(
    path: LoraPath,
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="folder for the merged model, or a .safetensors file, which UIs load.",
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="the base model, where it is not what the file says.")
    ] = None,
    strength: Annotated[float, typer.Option(help="1 is as trained, 0 the base.")] = 1.0,
) -> None:
    """Add a LoRA to its base's weights and write the whole model.

    A folder has the Hub's diffusers layout; a name that ends in .safetensors becomes one file in
    the layout of Stability's original code, a checkpoint for ComfyUI, A1111's line and sd-scripts.
    """
    from workbench import store
    from workbench.adapters import merge as merging
    from workbench.evaluation import loading
    from workbench.settings import SettingsError

    if out.exists():
        raise SettingsError(f"{out} exists; name a new folder or file")
    trained = loading.open_lora(path, base=base)
    trained.adapter.detach()
    family = trained.family
    single = family.single_file if out.suffix == ".safetensors" else None
    if out.suffix == ".safetensors" and single is None:
        raise SettingsError(
            f"{out}: no program reads all parts of this base from one file; name a folder "
            f"({out.with_suffix('')})"
        )
    merged = merging.merge(family.parts, path, strength, name_of=family.file_name)
    if merged.note:
        say(merged.note, style="yellow")
    if single is None:
        family.save(out)
    else:
        known = {"format": "pt", "modelspec.title": out.stem} | single.metadata
        store.stream_tensors(out, single.tensors(), known)
    say(str(out))


def _named_by(
    path: Path, *, base: str | None, to: Literal["kohya", "peft"], weights: bool
) -> dict[str, Any]:
    """The modules that a file's layers belong to: a published structure's, or those of a base.

    Empty where the names tell it all. `weights` are needed to reduce a rank, and only a base has
    them.
    """
    from workbench.adapters import formats
    from workbench.evaluation.loading import recorded_recipe
    from workbench.evaluation.published import structure_of
    from workbench.models import loading as models
    from workbench.models.base import BaseSettings
    from workbench.settings import SettingsError

    recipe = recorded_recipe(path) if base is None else None
    if base is None and not weights:
        try:
            known = structure_of(formats.read(path), to=to)
            return {"parts": known.parts, "name_of": known.file_name} if known else {}
        except SettingsError:
            if recipe is None:
                raise
    if base is None and recipe is None:
        raise SettingsError(f"{path} does not say which base it is for; name it with --base")
    family = models.load(recipe.base if recipe is not None else BaseSettings(path=str(base)))
    return {"parts": family.parts, "name_of": family.file_name}


def _say_lost(errors: dict[str, float], rank: int) -> None:
    worst, mean = max(errors, key=errors.__getitem__), sum(errors.values()) / len(errors)
    say(
        f"a plain LoRA of rank {rank} misses {mean:.2%} of each layer's change on average, "
        f"{errors[worst]:.2%} at most ({worst})",
        style="yellow" if mean > NOTICEABLE else None,
    )


def _method(layer: Any) -> str:
    names = {"lora": "LoRA", "loha": "LoHa", "lokr": "LoKr"}
    if layer.magnitude is None:
        return names[layer.kind]
    return "DoRA" if layer.kind == "lora" else f"{names[layer.kind]} with DoRA's lengths"


def _part(name: str) -> str:
    """`unet` of `lora_unet_down_blocks_0` (kohya) or `unet.down_blocks.0` (PEFT).

    Kohya's names say unet of any denoiser, also where it is a transformer.
    """
    from workbench.adapters.naming import is_unet
    from workbench.adapters.spelling import DENOISER, spelled

    if "." in name:
        return name.partition(".")[0]
    part, path = spelled(name)
    if part != DENOISER:
        return name.split("_")[1]
    return "unet" if is_unet(f"lora_unet_{path}") else "transformer"
