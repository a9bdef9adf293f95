"""Which method an adapter's file is of, and for which model, by the names of its tensors."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from workbench.layouts.models import Known


class _Method(NamedTuple):
    mark: re.Pattern[str]
    what: str
    fix: str


_MERGE = (
    "merge it into its base with the program that made it, and choose the merged model as base.path"
)
_EXTRACT = "extract a LoRA from it with the program that made it"
# Methods that are read: the endings of their tensors' names, and what they are.
_READ: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.hada_[wt][12]"), "a LoHa"),
    (re.compile(r"\.lokr_[wt][12]"), "a LoKr"),
    (re.compile(r"(\.lora_(up|down|A|B|mid)|[._]lora\.(up|down)|\.lora_linear_layer\.)"), "a LoRA"),
    (re.compile(r"^lora_(unet|te|te1|te2|transformer|prior)_"), "a LoRA"),
)
# Methods that are not read: without their tensors, the rest would be a wrong LoRA, or none.
_OTHERS: tuple[_Method, ...] = tuple(
    _Method(re.compile(mark), what, fix)
    for mark, what, fix in (
        (r"^lora_controlnet$", "a ControlNet-LoRA", "it steers by a picture, and is used as such"),
        (r"^lllite_", "a ControlNet-LLLite", "it steers by a picture, and is used as such"),
        (r"custom_diffusion", "Custom Diffusion", _MERGE),
        (r"(^|\.)bundle_emb", "a textual inversion inside the LoRA",
         "save the LoRA without it (bundled embeddings off)"),
        (r"\.boft_", "BOFT", _MERGE),
        (r"(\.|^)oft_", "OFT", _MERGE),
        (r"\.(a1|a2|b1|b2|bm1|bm2)\.weight$", "GLoRA", _MERGE),
        (r"\.on_input$|\.ia3_l", "IA3", _MERGE),
        (r"\.(w_norm|b_norm)$", "trained normalisation layers", _MERGE),
        (r"\.(diff|diff_b)(\.weight)?$|\.set_weight$", "full differences of weights", _EXTRACT),
        (r"\.reshape_weight$", "a LoRA that widens its base's weights", _MERGE),
        (r"modules_to_save", "whole weights beside the LoRA (PEFT's modules_to_save)", _MERGE),
        (r"\.lora_(A|B|up|down)(\.default)?\.bias$", "a LoRA with biases", _MERGE),
        (r"\.lora_embedding_[AB]", "a LoRA of token embeddings", _MERGE),
        (r"\.(vera_lambda|vblora_|fourierft_|hra_|randlora_|shira_|bone_|miss_|c3a_|waveft_|road_"
         r"|ln_tuning_|psoft_|delora_|gralora_|prompt_)", "another of PEFT's methods", _MERGE),
    )
)  # fmt: skip
# Models by names of what is adapted, dots written as underscores; the first that fits counts.
_MODELS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(mark), what)
    for mark, what in (
        (r"motion_modules_", "AnimateDiff"),
        (r"^(lora_)?prior_", "Stable Cascade"),
        (r"double_stream_modulation|single_stream_modulation|_attn_to_qkv_mlp_proj", "FLUX.2"),
        (r"distilled_guidance_layer", "Chroma"),
        (r"individual_token_refiner", "HunyuanVideo"),
        (r"text_fusion", "Krea 2"),
        (r"(^|_)(double_blocks|single_blocks|single_transformer_blocks)_\d",
         "FLUX or a model of its structure"),
        (r"(^|_)joint_blocks_\d", "Stable Diffusion 3"),
        (r"(^|_)transformer_blocks_\d+_(img|txt)_(mlp|mod)_", "Qwen-Image"),
        (r"(^|_)transformer_blocks_\d+_(attn_add_[qkv]_proj|attn_to_add_out|attn2_to_add)",
         "Stable Diffusion 3, Qwen-Image or FLUX"),
        (r"(^|_)(noise|context)_refiner_\d|(?<!encoder_)layers_\d+_(attention|feed_forward|adaLN)_",
         "Z-Image or Lumina 2"),
        (r"(^|_)blocks_\d+_(self_attn|cross_attn|ffn)_", "Wan"),
        (r"text_encoders?_?3_|(^|_)(te3|t5xxl)_|encoder_block_\d+_layer_\d",
         "a model with a T5 text encoder"),
        (r"^(lora_unet_|lora_transformer_|transformer_|diffusion_model_|base_model_model_)*"
         r"(transformer_blocks|blocks)_\d", "a diffusion transformer"),
    )
)  # fmt: skip
_CROSS = {
    768: "Stable Diffusion 1.x",
    1024: "Stable Diffusion 2.x",
    2048: "SDXL",
    1280: "the SDXL refiner",
}
_CROSS_ATTENTION = re.compile(r"attn2[._](processor[._])?to_[kv](?![a-z])")
_UNET = re.compile(r"(down|up)_blocks?_\d|(^|_)mid_block_|(input|output)_blocks_\d|middle_block_\d")
_SECOND_ENCODER = re.compile(r"lora_te2_|text_encoder_2_|clip_g_")
_ENCODER = re.compile(r"(^|_)(text_model_)?encoder_layers_\d+_(self_attn|mlp)_")


class Unread(NamedTuple):
    """A method that is not read.

    Attributes:
        what: the method.
        by: the tensor by which it is known.
        fix: what to do instead.
    """

    what: str
    by: str
    fix: str


def unread_method(names: Iterable[str]) -> Unread | None:
    """Whether tensors belong to a method that is not read.

    Args:
        names: of all tensors in a file.
    Returns:
        The method, one of its tensors and a way on; or None.
    """
    listed = list(names)
    for mark, what, fix in _OTHERS:
        if found := next((name for name in listed if mark.search(name)), None):
            return Unread(what, found, fix)
    return None


def adapter_of(names: Iterable[str]) -> Known | None:
    """Recognise an adapter's file, of any method.

    Args:
        names: of all its tensors.
    Returns:
        What it is and by what it is known; None for other files.
    """
    ordered = sorted(names)
    for mark, what in _READ:
        if found := next((name for name in ordered if mark.search(name)), None):
            return Known(what, found)
    if other := unread_method(ordered):
        return Known(f"an adapter ({other.what})", other.by)
    return None


def made_for(widths: Mapping[str, int | None]) -> Known | None:
    """For which model an adapter was made.

    Args:
        widths: name of each layer to the number of its inputs, where that can be seen.
    Returns:
        The model and the layer by which it is known; None where nothing tells.
    """
    flat = {name.replace(".", "_"): name for name in widths}
    for mark, what in _MODELS:
        if found := next((full for name, full in flat.items() if mark.search(name)), None):
            return Known(what, found)
    for name, width in widths.items():
        if width in _CROSS and _CROSS_ATTENTION.search(name):
            return Known(_CROSS[width], name)
    for mark, what in (
        (_SECOND_ENCODER, "SDXL"),
        (_UNET, "a U-Net of Stable Diffusion's structure"),
        (_ENCODER, "a CLIP text encoder"),
    ):
        if found := next((full for name, full in flat.items() if mark.search(name)), None):
            return Known(what, found)
    return None
