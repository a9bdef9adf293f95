"""LoRA files, our own and others': written, read, and put on a model whole or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from workbench.adapters.full import AttachedFull, attach_folder
from workbench.adapters.kohya import HASHES, NameOf, write_hashed, write_layers
from workbench.adapters.layers import Layer, adaptable
from workbench.adapters.lora import AttachedAdapter, AttachedLoRA
from workbench.adapters.naming import is_sdxl, kohya_name, place
from workbench.adapters.parse import layers_of, other_method
from workbench.adapters.peft_format import PACKED, read_configs, to_peft, with_parts
from workbench.store import FileRefused, load_tensors, read_header

Format = Literal["kohya", "peft"]


@dataclass(frozen=True, slots=True)
class LoraFile:
    """A LoRA file, read and checked.

    Attributes:
        path: where it lies.
        layers: name to layer: kohya's name, or "<part>.<path>" in PEFT's format.
        metadata: string pairs of the header.
        format: whose names it uses.
    """

    path: Path
    layers: dict[str, Layer]
    metadata: dict[str, str]
    format: Format


def write(
    path: str | Path,
    adapter: AttachedAdapter,
    *,
    name_of: NameOf,
    dtype: torch.dtype,
    metadata: dict[str, str],
) -> Path:
    """Write what an adapter learned: a kohya-format file, or folders after a full fine-tune.

    Args:
        path: a .safetensors path.
        adapter: on its model.
        name_of: (part, path) to a layer's name in the file.
        dtype: type of the weights in the file; alpha is fp32.
        metadata: what `metadata.metadata` made.
    Returns:
        The file, or the folder.
    Raises:
        ValueError: a weight is NaN or infinite, or becomes so in `dtype`.
    """
    return adapter.save(Path(path), name_of=name_of, dtype=dtype, metadata=metadata)


def read(path: str | Path) -> LoraFile:
    """Read a LoRA file in kohya's or PEFT's format.

    Args:
        path: a .safetensors file.
    Returns:
        Its layers; a missing alpha is the rank; a Tucker core is multiplied into `down`.
    Raises:
        FileRefused: unreadable, another method than LoRA, NaN, or tensors that are no whole layer.
    """
    path = Path(path)
    metadata, header = read_header(path)
    if found := other_method(header):
        raise FileRefused(
            f"{path}: {found[0]} ({found[1]}), which would be wrong as a plain LoRA; "
            "nothing was loaded"
        )
    tensors = load_tensors(path)
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise FileRefused(f"{path}: NaN or infinite: {_listed(bad)}; nothing was loaded")
    layers, wrong = layers_of(tensors)
    if wrong or not layers:
        raise FileRefused(f"{path}: not a whole LoRA: {_listed(wrong) or 'it holds no layers'}")
    if all("." not in name for name in layers):
        return LoraFile(path, layers, metadata, "kohya")
    layers = with_parts(layers, read_configs(path, metadata))
    return LoraFile(path, layers, metadata, "peft")


def resolve(
    file: LoraFile, parts: Mapping[str, nn.Module], *, name_of: NameOf
) -> dict[str, dict[str, Layer]]:
    """Find the module that each layer of a file belongs to.

    Args:
        file: what `read` returned.
        parts: part to model, without an adapter.
        name_of: (part, path) to a layer's name in kohya's format.
    Returns:
        Part to path to layer, shaped like the module's weight, in the model's order.
    Raises:
        FileRefused: layers that fit no module, or not its shape; all are listed.
    """
    left = dict(file.layers)
    found: dict[str, dict[str, Layer]] = {}
    wrong: list[str] = []
    for part, model in parts.items():
        for path, module in adaptable(model):
            for name in _spellings(part, path, name_of):
                if name not in left:
                    continue
                try:
                    found.setdefault(part, {})[path] = left.pop(name).fitted(module)
                except ValueError as error:
                    wrong.append(f"{name}: {error}")
    wrong += [f"{name}: no such layer in this model" for name in left]
    if wrong:
        raise FileRefused(
            f"{file.path}: {len(wrong)} of {len(file.layers)} layers do not fit this model, so "
            f"nothing was loaded; it may be for another family: {_listed(wrong)}"
        )
    return found


def attach_file(
    path: str | Path, parts: Mapping[str, nn.Module], *, name_of: NameOf
) -> AttachedLoRA | AttachedFull:
    """Put a trained adapter on a model.

    Args:
        path: a LoRA file, or the folder that a full fine-tune left.
        parts: part to model, without an adapter.
        name_of: (part, path) to a layer's name in kohya's format.
    Returns:
        The adapter; `settings` is None for a LoRA, whose ranks may differ by layer.
    Raises:
        FileRefused: the file is unsound or does not fit; the model is as it was.
    """
    if Path(path).is_dir():
        return attach_folder(Path(path), parts)
    return AttachedLoRA(parts, resolve(read(path), parts, name_of=name_of), settings=None)


def convert(
    source: str | Path,
    target: str | Path,
    *,
    to: Format,
    parts: Mapping[str, nn.Module] | None = None,
    name_of: NameOf | None = None,
) -> Path:
    """Rewrite a LoRA file under the other names; the values stay as they are.

    Args:
        source: a LoRA file in either format.
        target: a .safetensors path.
        to: "kohya" or "peft".
        parts: the base's models; without them the names of SD 1.x and 2.x are assumed.
        name_of: (part, path) to a layer's name in kohya's format; goes with `parts`.
    Returns:
        The target.
    Raises:
        FileRefused: unsound, or SDXL's names and no `parts` to look them up in.
    """
    file = read(source)
    if parts is not None and name_of is not None:
        found = resolve(file, parts, name_of=name_of)
        layers = {(part, path): x for part, own in found.items() for path, x in own.items()}
    else:
        layers, name_of = _guessed(file), kohya_name
    kept = {k: v for k, v in file.metadata.items() if k not in (PACKED, HASHES, "format")}
    if to == "peft":
        tensors, packed = to_peft(layers)
        return write_hashed(Path(target), tensors, kept | packed)
    named = {name_of(*key): layer for key, layer in layers.items()}
    dtype = next(iter(layers.values())).down.dtype
    return write_layers(Path(target), named, dtype=dtype, metadata=kept)


def _spellings(part: str, path: str, name_of: NameOf) -> set[str]:
    """Names that programs give a module: kohya's, diffusers' with underscores, PEFT's."""
    # transformers 5 dropped the level text_model from one of its classes; files have it or not.
    bare = path.removeprefix("text_model.")
    paths = {path} if part == "unet" else {bare, f"text_model.{bare}"}
    underscored = f"lora_{part}_{path}".replace(".", "_")
    return {name_of(part, path), underscored, *(f"{part}.{p}" for p in paths)}


def _guessed(file: LoraFile) -> dict[tuple[str, str], Layer]:
    """Part and path of each layer by the names alone."""
    if any(is_sdxl(name) for name in file.layers):
        raise FileRefused(
            f"{file.path}: the two formats name SDXL's layers differently; "
            "name the base model to look them up in"
        )
    try:
        return {
            _split(name) if file.format == "peft" else place(name): layer
            for name, layer in file.layers.items()
        }
    except ValueError as error:
        raise FileRefused(f"{file.path}: {error}") from None


def _split(name: str) -> tuple[str, str]:
    part, _, path = name.partition(".")
    return part, path


def _listed(names: Sequence[str], *, limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more
