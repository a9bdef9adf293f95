"""A U-Net's module paths in Stability's original code, which many files are named by."""

import re
from collections.abc import Mapping
from typing import Any

_TOP = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up|mid)_blocks?\.(?:(\d+)\.)?([a-z]+)\.(\d+)(?:\.(.+))?")


def original_path(path: str, config: Mapping[str, Any]) -> str:
    """Translate a U-Net module's path from diffusers to Stability's original code.

    Args:
        path: module path in `UNet2DConditionModel`, for example
            "down_blocks.1.attentions.0.proj_in".
        config: the U-Net's config; `layers_per_block` and `up_block_types` are read.
    Returns:
        For example "input_blocks.4.1.proj_in".
    Raises:
        ValueError: the path is no module of such a U-Net.
    """
    if path in _TOP:
        return _TOP[path]
    match = _BLOCK.fullmatch(path)
    if match is None:
        raise ValueError(f"{path!r} is no module of a Stable Diffusion U-Net")
    side, block, kind, layer, rest = match.groups()
    if kind == "resnets" and rest:
        rest = _RESNET.get(rest, rest)
    if kind == "downsamplers":
        rest = "op"
    prefix = _original_block((side, kind), int(block or 0), int(layer), config=config)
    return f"{prefix}.{rest}" if rest else prefix


def _original_block(
    where: tuple[str, str], block: int, layer: int, *, config: Mapping[str, Any]
) -> str:
    """Prefix of a residual block, transformer or resampler in the original numbering."""
    side, kind = where
    layers = config["layers_per_block"]
    slot = 1 if kind == "attentions" else 0
    if side == "mid":
        return f"middle_block.{1 if slot else 2 * layer}"
    first = block * (layers + 1)  # down: layers + downsampler; up: one residual block more
    if side == "down":
        return f"input_blocks.{first + (layers if kind == 'downsamplers' else layer) + 1}.{slot}"
    if kind == "upsamplers":
        has_attention = "CrossAttn" in config["up_block_types"][block]
        return f"output_blocks.{first + layers}.{2 if has_attention else 1}"
    return f"output_blocks.{first + layer}.{slot}"
