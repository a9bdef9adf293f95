"""Whether a single file's U-Net is built as its version says: told from names and shapes alone."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from workbench import store
from workbench.models.naming import original_path
from workbench.models.original_layout import UNET_PREFIX
from workbench.models.single_file import UNET_INPUT
from workbench.models.source import Peek, Source
from workbench.store import FileRefused

_BLOCK = re.compile(
    re.escape(UNET_PREFIX) + r"(.+)\.transformer_blocks\.(\d+)\.attn2\.to_k\.weight"
)
# Transformer blocks of the attentions on the way down, first to last, and whose they are.
# Source: ComfyUI, `supported_models.py`.
_KNOWN = {
    (2, 2, 4, 4): "SSD-1B",
    (1, 1, 2, 2): "Segmind Vega",
    (2, 5): "KOALA 700M",
    (2, 6): "KOALA 1B",
}
_TEXT_TABLES = (
    "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
    "conditioner.embedders.1.model.token_embedding.weight",
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    "cond_stage_model.model.token_embedding.weight",
)


def require_structure(seen: Peek, source: Source) -> None:
    """Refuse a single file whose U-Net is not built as the config beside it describes.

    Args:
        seen: a single file, under the published names.
        source: what it was taken for.
    Raises:
        FileRefused: other blocks, other widths, or a text encoder of another model.
    """
    config = store.read_json(source.config / "unet" / "config.json")
    _require_own_encoder(seen)
    found: dict[str, int] = {}
    for name in seen.tensors:
        if match := _BLOCK.match(name):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]) + 1)
    if not found:
        return  # no U-Net, which is said elsewhere
    reason = _other_blocks(found, config) or _other_widths(seen, config)
    if reason:
        down = tuple(found[name] for name in sorted(found, key=_place) if "input" in name)
        known = f"this is {_KNOWN[down]}: " if down in _KNOWN else ""
        raise FileRefused(
            f"{source.path}: {known}the weights do not fit the structure in {source.config} "
            f"({reason}); base.config can name a diffusers folder that describes them"
        )


def _place(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path)]


def _other_blocks(found: Mapping[str, int], config: Mapping[str, Any]) -> str:
    """Say where the transformers differ; "" where they do not, or the config is none of ours."""
    try:
        wanted = dict(_attentions(config))
    except (TypeError, KeyError, ValueError, IndexError):
        return ""  # a structure of another kind: diffusers says what does not fit
    for path in sorted(found.keys() | wanted.keys()):
        here, there = found.get(path, 0), wanted.get(path, 0)
        if here != there:
            return f"{path} has {here} transformer blocks, not {there}"
    return ""


def _attentions(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Original path and number of transformer blocks of each attention of a U-Net."""
    down, up = config["down_block_types"], config["up_block_types"]
    layers, depths = config["layers_per_block"], config.get("transformer_layers_per_block", 1)
    depths = [depths] * len(down) if isinstance(depths, int) else list(depths)
    for number, kind in enumerate(down):
        for layer in range(layers if "CrossAttn" in kind else 0):
            path = f"down_blocks.{number}.attentions.{layer}"
            yield original_path(path, config), int(depths[number])
    if "CrossAttn" in str(config.get("mid_block_type", "UNetMidBlock2DCrossAttn")):
        yield original_path("mid_block.attentions.0", config), int(depths[-1])
    upward = config.get("reverse_transformer_layers_per_block") or depths[::-1]
    for number, kind in enumerate(up):
        for layer in range(layers + 1 if "CrossAttn" in kind else 0):
            path = f"up_blocks.{number}.attentions.{layer}"
            yield original_path(path, config), int(upward[number])


def _other_widths(seen: Peek, config: Mapping[str, Any]) -> str:
    """Say which width differs: of the first layer, or of the text that the U-Net reads."""
    _, first = seen.tensors.get(UNET_INPUT, ("", ()))
    width = config.get("block_out_channels", (None,))[0]
    if len(first) == 4 and isinstance(width, int) and first[0] != width:
        return f"its first layer has {first[0]} channels, not {width}"
    text, wanted = _text_width(seen), config.get("cross_attention_dim")
    if text and isinstance(wanted, int) and text != wanted:
        return f"its U-Net reads text of width {text}, not {wanted}"
    return ""


def _text_width(seen: Peek) -> int:
    """Width of the text that a U-Net reads; 0 where no weight tells."""
    shapes = (s for n, (_, s) in seen.tensors.items() if _BLOCK.match(n) and len(s) == 2)
    return next((shape[1] for shape in shapes), 0)


def _require_own_encoder(seen: Peek) -> None:
    """Refuse a mixture: a U-Net that reads another width than its text encoders give."""
    shapes = [seen.tensors[name][1] for name in _TEXT_TABLES if name in seen.tensors]
    given = sum(shape[1] for shape in shapes if len(shape) == 2)
    text = _text_width(seen)
    if given and text and given != text:
        raise FileRefused(
            f"{seen.path}: this is a mixture of two models: its U-Net reads text of width {text}, "
            f"its text encoder gives {given} (768 in Stable Diffusion 1.x, 1024 in 2.x, 2048 in "
            "SDXL); choose a file whose parts belong together"
        )
