"""Adapter files, our own and others': read, checked, and matched with a model's layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from workbench.adapters.kohya import NameOf
from workbench.adapters.layers import Layer, adaptable
from workbench.adapters.naming import is_encoder
from workbench.adapters.parse import layers_of, other_method
from workbench.adapters.peft_format import read_configs, with_parts
from workbench.store import FileRefused, load_tensors, read_header

Format = Literal["kohya", "peft"]


@dataclass(frozen=True, slots=True)
class LoraFile:
    """An adapter file, read and checked.

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


def read(path: str | Path) -> LoraFile:
    """Read a LoRA, LoCon, DoRA, LoHa or LoKr in kohya's, LyCORIS' or PEFT's format.

    Args:
        path: a .safetensors file.
    Returns:
        Its layers; a missing alpha is the rank; a LoCon's Tucker core is multiplied into `down`.
    Raises:
        FileRefused: unreadable, another method, NaN, or tensors that are no whole layer.
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
        raise FileRefused(f"{path}: NaN or infinite: {listed(bad)}; nothing was loaded")
    layers, wrong = layers_of(tensors)
    if wrong or not layers:
        raise FileRefused(f"{path}: not a whole LoRA: {listed(wrong) or 'it holds no layers'}")
    if all("." not in name for name in layers):
        return LoraFile(path, layers, metadata, "kohya")
    layers = with_parts(layers, read_configs(path, metadata), path=path)
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
            f"nothing was loaded; it may be for another family: {listed(wrong)}"
        )
    return found


def listed(names: Sequence[str], *, limit: int = 12) -> str:
    """Names for an error message.

    Args:
        names: any number of them.
        limit: how many are shown.
    Returns:
        "a; b and 3 more".
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more


def _spellings(part: str, path: str, name_of: NameOf) -> set[str]:
    """Names that programs give a module: kohya's, diffusers' with underscores, PEFT's."""
    # transformers 5 dropped the level text_model from one of its classes; files have it or not.
    bare = path.removeprefix("text_model.")
    paths = {bare, f"text_model.{bare}"} if is_encoder(part) else {path}
    underscored = f"lora_{part}_{path}".replace(".", "_")
    names = {name_of(part, path), underscored, *(f"{part}.{p}" for p in paths)}
    # The prefix that LyCORIS takes where kohya's trainer does not choose it.
    return names if is_encoder(part) else names | {f"lycoris_{path}".replace(".", "_")}
