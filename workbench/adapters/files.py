"""Adapter files, our own and others': read, checked, and matched with a model's layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import nn

from workbench.adapters.folders import encoder_of, weights_files
from workbench.adapters.kohya import NameOf
from workbench.adapters.layers import Layer, inputs_of, rows_of
from workbench.adapters.parse import layers_of
from workbench.adapters.peft_format import read_configs, with_parts
from workbench.adapters.precision import Header, refuse_quantised, widened
from workbench.adapters.spelling import ANY_ENCODER, Index, Module
from workbench.layouts.adapters import adapter_of, made_for, unread_method
from workbench.layouts.models import Known, model_of, whole_model
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
    """Read a LoRA, LoCon, DoRA, LoHa or LoKr, in the names of any program.

    Args:
        path: a .safetensors file, or a folder of PEFT or diffusers that holds one.
    Returns:
        Its layers; a missing alpha is the rank; a LoCon's Tucker core is multiplied into `down`.
    Raises:
        FileRefused: unreadable, no adapter, of another method, NaN, quantised, or tensors that are
            no whole layer; it says what the file is.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_file(path)
    read_all = [_read_file(file) for file in weights_files(path)]
    first = read_all[0]
    if len(read_all) == 1:
        return replace(first, path=path)
    layers = {name: layer for file in read_all for name, layer in file.layers.items()}
    return replace(first, path=path, layers=layers)


def _read_file(path: Path) -> LoraFile:
    metadata, header = read_header(path)
    _require_adapter(path, header)
    refuse_quantised(path, header)
    tensors = widened(load_tensors(path), path)
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise FileRefused(f"{path}: NaN or infinite: {listed(bad)}; nothing was loaded")
    layers, own_alpha, wrong = layers_of(tensors)
    if wrong or not layers:
        raise FileRefused(f"{path}: not a whole LoRA: {listed(wrong) or 'it holds no layers'}")
    if all("." not in name for name in layers):
        return LoraFile(path, layers, metadata, "kohya")
    configs = read_configs(path, metadata)
    layers = with_parts(layers, configs, path=path, own_alpha=own_alpha)
    if (part := encoder_of(path)) is not None:
        layers = {name.replace(f"{ANY_ENCODER}.", f"{part}.", 1): x for name, x in layers.items()}
    return LoraFile(path, layers, metadata, "peft")


def require_adapter(path: str | Path) -> None:
    """Look at a file's header, and refuse what `read` would refuse by it.

    Args:
        path: a .safetensors file, or a folder of PEFT or diffusers that holds one.
    Raises:
        FileRefused: unreadable, no adapter, of another method, or quantised.
    """
    path = Path(path)
    for file in weights_files(path) if path.is_dir() else [path]:
        _, header = read_header(file)
        _require_adapter(file, header)
        refuse_quantised(file, header)


def _require_adapter(path: Path, header: Header) -> None:
    """Refuse what is no adapter of a method that is read, and say what it is."""
    if other := unread_method(header):
        raise FileRefused(
            f"{path}: {other.what} ({other.by}), which is not read, and would be wrong as a plain "
            f"LoRA; nothing was loaded: {other.fix}"
        )
    if adapter_of(header):
        beside = [name for name in header if name.startswith("base_model.model.") and _whole(name)]
        if beside:
            raise FileRefused(
                f"{path}: it holds whole weights beside the LoRA ({listed(beside, limit=3)}), "
                "which PEFT writes for modules_to_save; nothing was loaded: train without "
                "modules_to_save, or merge it with PEFT and choose the merged model as base.path"
            )
        return
    if known := model_of(header) or whole_model(header):
        raise FileRefused(
            f"{path}: this is {known.what}, not a LoRA (it holds {known.by}); where it is a model "
            "to train on, choose it as base.path"
        )
    if not header:
        raise FileRefused(f"{path}: it holds no tensors at all; save or download it again")


def _whole(name: str) -> bool:
    return name.endswith((".weight", ".bias")) and adapter_of([name]) is None


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
    index = Index(parts)
    named = {name_of(module.part, module.path): module for module in index.modules}
    placed: dict[tuple[str, str], tuple[str, Layer]] = {}
    wrong: list[str] = []
    for name, layer in file.layers.items():
        own = named.get(name)
        targets = [(own,)] if own is not None else list(index.find(name))
        try:
            fitted = _placed(layer, targets)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
            continue
        for key, one in fitted.items():
            if key in placed:
                wrong.append(f"{name}: the same layer as {placed[key][0]}")
            placed[key] = name, one
    if wrong:
        raise FileRefused(
            f"{file.path}: {len(wrong)} of {len(file.layers)} layers do not fit this model, so "
            f"nothing was loaded; {_whose(file)}: {listed(wrong)}"
        )
    found: dict[str, dict[str, Layer]] = {}
    for part, path, _ in index.modules:
        if (part, path) in placed:
            found.setdefault(part, {})[path] = placed[part, path][1]
    return found


def _placed(layer: Layer, targets: Sequence[tuple[Module, ...]]) -> dict[tuple[str, str], Layer]:
    """A layer at the modules that it is for, in their shapes."""
    if not targets:
        raise ValueError("no such layer in this model")
    fitting: list[dict[tuple[str, str], Layer]] = []
    errors: list[ValueError] = []
    for modules in targets:
        try:
            fitting.append(_fitted(layer, modules))
        except ValueError as error:
            errors.append(error)
    if not fitting:
        raise errors[0]
    if len(fitting) > 1:
        names = " and ".join(modules[0].part for modules in targets)
        raise ValueError(
            f"fits {names}, and the file does not say which is meant; put it into a folder of that "
            "name"
        )
    return fitting[0]


def _fitted(layer: Layer, modules: tuple[Module, ...]) -> dict[tuple[str, str], Layer]:
    shares = [layer] if len(modules) == 1 else rows_of(layer, len(modules))
    pairs = zip(modules, shares, strict=True)
    return {(one.part, one.path): share.fitted(one.module) for one, share in pairs}


def model_for(file: LoraFile) -> Known | None:
    """For which model a file's adapter was made.

    Args:
        file: what `read` returned.
    Returns:
        The model, and the layer by which it is known; None where nothing tells.
    """
    return made_for({name: inputs_of(layer) for name, layer in file.layers.items()})


def _whose(file: LoraFile) -> str:
    made = model_for(file)
    if made is None:
        return "it may be for another family"
    return f"it was made for {made.what} (by {made.by})"


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
