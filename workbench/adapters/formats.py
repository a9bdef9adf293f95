"""Adapter files written, converted, and put on a model whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from workbench.adapters.attached import AttachedAdapter, AttachedNetwork
from workbench.adapters.decompose import of_outputs
from workbench.adapters.files import Format, LoraFile, listed, read, resolve
from workbench.adapters.folders import is_adapter_folder
from workbench.adapters.full import AttachedFull, attach_folder
from workbench.adapters.kohya import HASHES, NameOf, write_hashed, write_layers
from workbench.adapters.layers import Layer, factors
from workbench.adapters.naming import is_original, is_sdxl, kohya_name, place
from workbench.adapters.peft_format import PACKED, to_peft
from workbench.store import FileRefused

__all__ = ["Format", "LoraFile", "attach_file", "convert", "read", "resolve", "write", "write_as"]


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


def attach_file(
    path: str | Path, parts: Mapping[str, nn.Module], *, name_of: NameOf
) -> AttachedNetwork | AttachedFull:
    """Put a trained adapter on a model.

    Args:
        path: a LoRA file, PEFT's or diffusers' folder of one, or what a full fine-tune left.
        parts: part to model, without an adapter.
        name_of: (part, path) to a layer's name in kohya's format.
    Returns:
        The adapter; `settings` is None for a file, whose ranks may differ by layer.
    Raises:
        FileRefused: the file is unsound or does not fit, or peft has no such layers; the model is
            as it was.
    """
    if Path(path).is_dir() and not is_adapter_folder(path):
        return attach_folder(Path(path), parts)
    layers = resolve(read(path), parts, name_of=name_of)
    strange = [
        f"{part}.{name}"
        for part, own in layers.items()
        for name, x in own.items()
        if x.magnitude is not None and (x.kind != "lora" or not of_outputs(x.magnitude))
    ]
    if strange:
        raise FileRefused(
            f"{path}: DoRA's lengths of inputs, or of a LoHa or LoKr, can be merged but not put "
            f"beside a model: {listed(strange, limit=3)}; `workbench merge` it, or make a plain "
            "LoRA of it with `workbench convert --rank`"
        )
    return AttachedNetwork(parts, layers, settings=None)


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
    dtype = next(iter(factors(next(iter(layers.values()))).values())).dtype
    return write_as(
        Path(target), layers, to=to, name_of=name_of, dtype=dtype, metadata=file.metadata
    )


def write_as(
    path: Path,
    layers: Mapping[tuple[str, str], Layer],
    *,
    to: Format,
    name_of: NameOf,
    dtype: torch.dtype,
    metadata: Mapping[str, str],
) -> Path:
    """Write layers in either format.

    Args:
        path: a .safetensors path.
        layers: part and path to layer.
        to: "kohya" or "peft".
        name_of: (part, path) to a layer's name in kohya's format.
        dtype: type of the matrices.
        metadata: of the file that the layers come from; what it says of them is renewed.
    Returns:
        The path.
    Raises:
        FileRefused: PEFT has no such layers.
    """
    kept = {k: v for k, v in metadata.items() if k not in (PACKED, HASHES, "format")}
    if to == "kohya":
        named = {name_of(*key): layer for key, layer in layers.items()}
        kept = {k: v for k, v in kept.items() if not k.startswith("ss_network_")}
        return write_layers(path, named, dtype=dtype, metadata=kept)
    tensors, packed = to_peft(layers)
    exact = {n: t if "magnitude" in n else t.to("cpu", dtype) for n, t in tensors.items()}
    return write_hashed(path, exact, kept | packed)


def _guessed(file: LoraFile) -> dict[tuple[str, str], Layer]:
    """Part and path of each layer by the names alone."""
    if strange := [name for name in file.layers if is_sdxl(name) or is_original(name)]:
        raise FileRefused(
            f"{file.path}: the two formats name such layers differently ({strange[0]}); "
            "name the base model (--base) to look them up in"
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
