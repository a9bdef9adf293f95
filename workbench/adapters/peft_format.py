"""PEFT's and diffusers' format: dotted names, and alpha in a configuration beside the tensors."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.adapters.layers import Layer
from workbench.store import FileRefused, read_json

PARTS = ("unet", "text_encoder", "text_encoder_2")
PACKED = "lora_adapter_metadata"
Configs = Mapping[str, Mapping[str, Any]]  # part to PEFT configuration; "" is for all parts


def read_configs(path: Path, metadata: Mapping[str, str]) -> Configs:
    """Find the configuration: in diffusers' metadata, or in PEFT's file beside the weights.

    Args:
        path: the weights.
        metadata: of the weights' header.
    Returns:
        Part to configuration; empty when there is none.
    Raises:
        FileRefused: it cannot be read, or says that the weights are a DoRA.
    """
    configs: dict[str, dict[str, Any]] = {}
    beside = path.with_name("adapter_config.json")
    if path.name == "adapter_model.safetensors" and beside.exists():
        configs[""] = dict(read_json(beside))
    try:
        packed = dict(json.loads(metadata.get(PACKED, "{}")))
    except (ValueError, TypeError) as error:
        raise FileRefused(f"{path}: {PACKED} is no JSON table ({error})") from None
    for key, value in packed.items():
        part, _, field = key.partition(".")
        configs.setdefault(part, {})[field] = value
    if any(config.get("use_dora") for config in configs.values()):
        raise FileRefused(f"{path}: DoRA, which would be wrong as a plain LoRA")
    return configs


def with_parts(layers: Mapping[str, Layer], configs: Configs) -> dict[str, Layer]:
    """Put the part in front of each name, and the configuration's alpha in each layer.

    Args:
        layers: "unet.<path>", "base_model.model.<path>" or "<path>" to layer.
        configs: what `read_configs` returned.
    Returns:
        "<part>.<path>" to layer with alpha in kohya's meaning.
    """
    renamed = {}
    for name, layer in layers.items():
        full = name.removeprefix("base_model.model.")
        if full.partition(".")[0] not in PARTS:
            full = f"unet.{full}"
        part, _, path = full.partition(".")
        alpha = _alpha(configs.get(part, configs.get("", {})), path, layer)
        renamed[full] = Layer(layer.down, layer.up, alpha)
    return renamed


def to_peft(layers: Mapping[tuple[str, str], Layer]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Layers as diffusers' `save_lora_weights` writes them.

    Args:
        layers: part and path to layer.
    Returns:
        Tensors, and the metadata that holds alpha.
    """
    tensors: dict[str, Tensor] = {}
    packed: dict[str, Any] = {}
    for part in dict.fromkeys(part for part, _ in layers):
        # transformers 5 dropped text_model from one class: files keep it, patterns fit both.
        own = {path.removeprefix("text_model."): x for (p, path), x in layers.items() if p == part}
        packed |= {f"{part}.{key}": value for key, value in _config(own).items()}
        prefix = part if part == "unet" else f"{part}.text_model"
        for path, layer in own.items():
            tensors[f"{prefix}.{path}.lora_A.weight"] = layer.down
            tensors[f"{prefix}.{path}.lora_B.weight"] = layer.up
    return tensors, {"format": "pt", PACKED: json.dumps(packed, sort_keys=True)}


def _config(layers: Mapping[str, Layer]) -> dict[str, Any]:
    """The arguments of PEFT's LoraConfig."""
    rank = Counter(layer.rank for layer in layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {path: x.rank for path, x in layers.items() if x.rank != rank},
        "alpha_pattern": {path: x.alpha for path, x in layers.items() if x.alpha != alpha},
        "target_modules": sorted(layers),
        "init_lora_weights": False,
    }


def _alpha(config: Mapping[str, Any], path: str, layer: Layer) -> float:
    if "lora_alpha" not in config:
        return layer.alpha
    alpha = float(config["lora_alpha"])
    for key, value in (config.get("alpha_pattern") or {}).items():
        if f".{path}".endswith(f".{key.removeprefix('^')}"):
            alpha = float(value)
    return alpha * math.sqrt(layer.rank) if config.get("use_rslora") else alpha
