"""PEFT's and diffusers' format: dotted names, and alpha in a configuration beside the tensors."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.adapters.decompose import of_outputs
from workbench.adapters.layers import Kronecker, Layer, LowRank, factors
from workbench.adapters.naming import is_encoder
from workbench.adapters.spelling import dotted
from workbench.store import FileRefused, read_json

PACKED = "lora_adapter_metadata"
_KERNELS = (1, 4, 9, 16, 25, 49)
Configs = Mapping[str, Mapping[str, Any]]  # part to PEFT configuration; "" is for all parts


def read_configs(path: Path, metadata: Mapping[str, str]) -> Configs:
    """Find the configuration: in diffusers' metadata, or in PEFT's file beside the weights.

    Args:
        path: the weights.
        metadata: of the weights' header.
    Returns:
        Part to configuration; empty when there is none.
    Raises:
        FileRefused: it cannot be read.
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
    return configs


def with_parts(
    layers: Mapping[str, Layer],
    configs: Configs,
    *,
    path: Path,
    own_alpha: AbstractSet[str] = frozenset(),
) -> dict[str, Layer]:
    """Put the part in front of each name, and the configuration's alpha in each layer.

    Args:
        layers: name to layer, in any of the dotted spellings.
        configs: what `read_configs` returned.
        path: the weights, for errors.
        own_alpha: names of layers whose alpha stands beside them.
    Returns:
        "<part>.<path>" to layer with alpha in kohya's meaning.
    Raises:
        FileRefused: a DoRA by its configuration, and no magnitudes; two layers of one name, or
            two alphas of one layer.
    """
    renamed: dict[str, Layer] = {}
    for name, layer in layers.items():
        full = dotted(name, parts=configs.keys())
        part, _, module = full.partition(".")
        config = configs.get(part, configs.get("", {}))
        if config.get("use_dora") and layer.magnitude is None:
            raise FileRefused(f"{path}: a DoRA, but {name} has no lora_magnitude_vector")
        if full in renamed:
            raise FileRefused(f"{path}: {full} is there twice, in two spellings ({name})")
        scaled = _scaled(layer, config, module)
        if name in own_alpha and not math.isclose(scaled.scale, layer.scale, rel_tol=1e-5):
            raise FileRefused(
                f"{path}: {name} has two scales: {layer.scale:g} by its alpha tensor, and "
                f"{scaled.scale:g} by the configuration; remove the one that is wrong"
            )
        renamed[full] = scaled
    return renamed


def to_peft(layers: Mapping[tuple[str, str], Layer]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Layers as diffusers' `save_lora_weights` writes them; LoHa and LoKr likewise.

    Args:
        layers: part and path to layer.
    Returns:
        Tensors, and the metadata that holds alpha.
    Raises:
        FileRefused: PEFT has no such layers.
    """
    found: dict[str, Tensor] = {}
    packed: dict[str, Any] = {}
    for part in dict.fromkeys(part for part, _ in layers):
        # transformers 5 dropped text_model from one class: files keep it, patterns fit both.
        own = {path.removeprefix("text_model."): x for (p, path), x in layers.items() if p == part}
        packed |= {f"{part}.{key}": value for key, value in _config(own, part).items()}
        prefix = f"{part}.text_model" if is_encoder(part) else part
        for path, layer in own.items():
            stored = layer.folded() if isinstance(layer, Kronecker) else layer
            suffix = ".weight" if isinstance(layer, LowRank) else ""
            for field, tensor in factors(stored).items():
                found[f"{prefix}.{path}.{layer.peft_names[field]}{suffix}"] = tensor
            if layer.magnitude is not None:
                found[f"{prefix}.{path}.lora_magnitude_vector"] = peft_magnitude(layer.magnitude)
    return found, {"format": "pt", PACKED: json.dumps(packed, sort_keys=True)}


def comfyui_note(layers: Mapping[str, Layer]) -> str | None:
    """Say what ComfyUI makes of a file in this format.

    It looks for a U-Net's attention under the names of diffusers' attention processors of 2023
    (`attn1.processor.to_q`), and takes alpha from tensors, never from the metadata.

    Args:
        layers: "<part>.<path>" to layer.
    Returns:
        A sentence; None where it reads all of it as it is meant.
    Source: ComfyUI, comfy/lora.py, `model_lora_keys_unet`; comfy/weight_adapter/lora.py.
    """
    read = [n for n in layers if not (n.startswith("unet.") and ".to_" in n)]
    scaled = [name for name in read if layers[name].alpha != layers[name].rank]
    if len(read) == len(layers) and not scaled:
        return None
    said = f"ComfyUI reads {len(read)} of these {len(layers)} layers and passes over the others"
    if len(read) == len(layers):
        said = f"ComfyUI reads these {len(layers)} layers"
    if scaled:
        said += f", {len(scaled)} of them at another strength, since it does not see their alpha"
    return f"{said}; it says no word of it: give ComfyUI kohya's format (--to kohya)"


def peft_magnitude(magnitude: Tensor) -> Tensor:
    """A DoRA's lengths in the shape that peft gives them.

    Args:
        magnitude: (out, 1) or (out, 1, 1, 1).
    Returns:
        (out,) or (1, out, 1, 1).
    """
    return magnitude.flatten() if magnitude.dim() == 2 else magnitude.transpose(0, 1).contiguous()


def _config(layers: Mapping[str, Layer], part: str) -> dict[str, Any]:
    """The arguments of PEFT's LoraConfig, LoHaConfig or LoKrConfig."""
    methods = {(layer.kind, layer.magnitude is not None) for layer in layers.values()}
    kind, dora = next(iter(methods))
    lengths = [x.magnitude for x in layers.values() if x.magnitude is not None]
    odd = not all(map(of_outputs, lengths))
    if len(methods) > 1 or odd or (dora and kind != "lora"):
        raise FileRefused(
            f"PEFT has one method for all layers of the {part}, and DoRA's lengths only of a "
            f"LoRA's outputs; this file has {sorted(methods)}; write kohya's format, or a plain "
            "LoRA (workbench convert --rank)"
        )
    rank = Counter(layer.rank for layer in layers.values()).most_common(1)[0][0]
    alphas = {path: float(x.rank) if _full(x) else x.alpha for path, x in layers.items()}
    alpha = Counter(alphas.values()).most_common(1)[0][0]
    config: dict[str, Any] = {
        "r": rank,
        "lora_alpha" if kind == "lora" else "alpha": alpha,
        "rank_pattern": {path: x.rank for path, x in layers.items() if x.rank != rank},
        "alpha_pattern": {path: own for path, own in alphas.items() if own != alpha},
        "target_modules": sorted(layers),
        "init_lora_weights" if kind == "lora" else "init_weights": False,
    }
    if kind == "lokr":
        thin = any(isinstance(x, Kronecker) and x.w1 is None for x in layers.values())
        config |= {"decompose_both": thin, "decompose_factor": _decompose_factor(layers)}
    return config | ({"use_dora": True} if dora else {})


def _full(layer: Layer) -> bool:
    return isinstance(layer, Kronecker) and layer.is_full


def _decompose_factor(layers: Mapping[str, Layer]) -> int:
    """The setting by which peft splits every layer's sides as they are split here; else -1."""
    from peft.tuners.lokr.layer import factorization

    def fits(factor: int, rows: tuple[int, int], columns: tuple[int, int]) -> bool:
        """A thin w2 does not tell how large its kernel is, so every usual one is tried."""
        b, d = columns
        sizes = [d // kernel for kernel in _KERNELS if d % kernel == 0]
        return factorization(rows[0] * rows[1], factor) == rows and any(
            factorization(b * size, factor) == (b, size) for size in sizes
        )

    sides = {x.sides() for x in layers.values() if isinstance(x, Kronecker)}
    candidates = (-1, *sorted({rows[0] for rows, _ in sides}))
    return next((f for f in candidates if all(fits(f, *pair) for pair in sides)), -1)


def _scaled(layer: Layer, config: Mapping[str, Any], path: str) -> Layer:
    """A layer with the scale that PEFT's configuration gives it."""
    key = "lora_alpha" if isinstance(layer, LowRank) else "alpha"
    if key not in config:
        return layer
    alpha = float(_own(config, "alpha_pattern", path, config[key]))
    if isinstance(layer, Kronecker) and layer.is_full:
        # Files of LyCORIS have no scale here, PEFT has: it goes into w1.
        rank = _own(config, "rank_pattern", path, config.get("r", 1))
        return replace(layer, alpha=float(rank), factor=alpha / rank).folded()
    if config.get("use_rslora"):
        alpha *= math.sqrt(layer.rank)
    return replace(layer, alpha=alpha)


def _own(config: Mapping[str, Any], pattern: str, path: str, value: Any) -> Any:
    """What a pattern says of one layer."""
    for key, own in (config.get(pattern) or {}).items():
        if f".{path}".endswith(f".{key.removeprefix('^')}"):
            value = own
    return value
