"""peft's layers in a model: which ones, with which values."""

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.adapters.dropouts import drop_ranks, skip_adapters
from workbench.adapters.layers import Layer, factors
from workbench.adapters.peft_format import peft_magnitude

if TYPE_CHECKING:
    from workbench.adapters.networks import NetworkSettings

START = "start"  # the second adapter of a layer that began as a part of the base
MAGNITUDE = "magnitude"


def method_of(layer: Layer) -> str:
    """The name of a layer's adapter in peft: one for each method that a model can mix.

    Args:
        layer: any.
    Returns:
        "lora", "dora", "loha" or "lokr".
    """
    return "dora" if layer.kind == "lora" and layer.magnitude is not None else layer.kind


def inject(
    module: nn.Module,
    layers: Mapping[str, Layer],
    *,
    settings: "NetworkSettings | None",
    name: str | None = None,
) -> None:
    """Wrap layers of a model by peft; the values are filled in afterwards.

    Args:
        module: U-Net or text encoder.
        layers: path to layer.
        settings: dropouts are read from here.
        name: of the adapter; None: its method.
    """
    for method in dict.fromkeys(map(method_of, layers.values())):
        own = {path: layer for path, layer in layers.items() if method_of(layer) == method}
        config = _config(method, own, settings if name is None else None)
        # peft draws values for the layers, which are replaced; the global generator is left alone.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            _inject(config, module, name or method)


def _inject(config: Any, module: nn.Module, name: str) -> None:
    from peft import inject_adapter_in_model

    inject_adapter_in_model(config, module, adapter_name=name)


def _config(method: str, layers: Mapping[str, Layer], settings: "NetworkSettings | None") -> Any:
    """Peft's configuration of the layers of one method."""
    from peft import LoHaConfig, LoKrConfig, LoraConfig

    targets = "|".join(re.escape(path) for path in layers)
    if method in ("loha", "lokr"):
        names = ("rank_dropout", "module_dropout")
        dropouts: dict[str, Any] = {name: getattr(settings, name, 0.0) for name in names}
        if method == "loha":
            return LoHaConfig(r=1, target_modules=targets, init_weights=False, **dropouts)
        dropouts["rank_dropout_scale"] = True  # as LoHa's: what is left makes up for the rest
        return LoKrConfig(r=1, target_modules=targets, init_weights=False, **dropouts)
    # peft matches every layer against every rank pattern, so layers of one rank share one pattern:
    # a pattern a layer makes 700 layers of a file cost 500,000 compiled expressions.
    paths_of: dict[int, list[str]] = {}
    for path, layer in layers.items():
        paths_of.setdefault(layer.rank, []).append(re.escape(path))
    return LoraConfig(
        r=1,
        rank_pattern={f"^(?:{'|'.join(paths)})": rank for rank, paths in paths_of.items()},
        target_modules=targets,
        lora_dropout=getattr(settings, "dropout", 0.0),
        init_lora_weights=False,
        use_dora=method == "dora",
    )


def fill(wrapped: Any, layer: Layer, *, name: str | None = None) -> dict[str, nn.Parameter]:
    """Put a layer's values into peft's layer, in fp32.

    Args:
        wrapped: peft's layer.
        layer: the values.
        name: of the adapter; None: its method.
    Returns:
        Name of each weight ("lora_A", "hada_w1_a", "magnitude") to the parameter that learns.
    """
    key = name or method_of(layer)
    device = wrapped.get_base_layer().weight.device
    wrapped.r[key] = layer.rank
    wrapped.scaling[key] = layer.scale

    def parameter(value: Tensor) -> nn.Parameter:
        return nn.Parameter(value.detach().to(device, torch.float32, copy=True).contiguous())

    values = {layer.peft_names[field]: tensor for field, tensor in factors(layer).items()}
    found: dict[str, nn.Parameter] = {}
    if layer.kind == "lora":
        for weight, value in values.items():
            found[weight] = getattr(wrapped, weight)[key].weight = parameter(value)
    else:
        for weight in layer.peft_names.values():
            own = getattr(wrapped, weight)
            if key in own:
                del own[key]
            if weight in values:
                found[weight] = own[key] = parameter(values[weight])
    if layer.magnitude is not None:
        vector = wrapped.lora_magnitude_vector[key]
        found[MAGNITUDE] = vector.weight = parameter(peft_magnitude(layer.magnitude))
    wrapped.train(wrapped.get_base_layer().training)  # new modules would have dropout on
    return found


def add_dropouts(wrapped: Any, method: str, settings: "NetworkSettings | None") -> None:
    """Hook rank and module dropout into a LoRA; peft's LoHa and LoKr have their own.

    Args:
        wrapped: peft's layer.
        method: its adapter's.
        settings: the shares.
    """
    if settings is None or method not in ("lora", "dora"):
        return
    if settings.rank_dropout:
        drop_ranks(wrapped.lora_A[method], settings.rank_dropout)
    if settings.module_dropout:
        skip_adapters(wrapped, settings.module_dropout)
