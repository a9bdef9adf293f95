"""An adapter's change added to the weights for good."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from workbench.adapters.files import read, resolve
from workbench.adapters.kohya import NameOf

NOTICEABLE = 0.01  # share of dW lost to rounding from which `Merged.note` speaks


@dataclass(frozen=True, slots=True)
class Merged:
    """What merging did.

    Attributes:
        rounding: "<part>.<path>" to |W' - W - dW| / |dW|: lost by the weight's type.
        note: a sentence for the user when that is noticeable, else None.
    """

    rounding: dict[str, float]
    note: str | None


@torch.no_grad()
def merge(
    parts: Mapping[str, nn.Module], path: str | Path, strength: float = 1.0, *, name_of: NameOf
) -> Merged:
    """Add an adapter to the weights of a model, in place: W + strength (W' - W).

    Args:
        parts: part to model, without an adapter.
        path: a LoRA, DoRA, LoHa or LoKr file.
        strength: factor on the change.
        name_of: (part, path) to a layer's name in kohya's format.
    Returns:
        How much of the change was lost to rounding, layer by layer.
    Raises:
        FileRefused: the file is unsound or does not fit; no weight was changed.
    """
    rounding = {}
    types = set()
    for part, layers in resolve(read(path), parts, name_of=name_of).items():
        for module_path, layer in layers.items():
            weight: Tensor = parts[part].get_submodule(module_path).weight  # pyright: ignore[reportAssignmentType]
            exact = torch.promote_types(weight.dtype, torch.float32)
            before = weight.to(exact)
            delta = strength * layer.delta(before.cpu(), dtype=exact).to(weight.device)
            stored = (before + delta).to(weight.dtype)
            lost = (stored.to(exact) - before - delta).norm() / delta.norm().clamp(min=1e-30)
            weight.copy_(stored)
            rounding[f"{part}.{module_path}"] = float(lost)
            types.add(str(weight.dtype).removeprefix("torch."))
    worst = max(rounding, key=rounding.__getitem__)
    if rounding[worst] < NOTICEABLE:
        return Merged(rounding, None)
    note = (
        f"merging into {', '.join(sorted(types))} lost up to {rounding[worst]:.0%} of the change "
        f"({worst}) to rounding; merge into float32 weights, or keep the LoRA apart"
    )
    return Merged(rounding, note)
