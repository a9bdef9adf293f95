"""Kohya's names of SD 1.x and 2.x layers, told apart from the names alone."""

import re

_PREFIXES = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
}
# Names with an underscore of their own; every other underscore stands for a dot.
_WORD = re.compile(
    "down_blocks|up_blocks|mid_block|transformer_blocks|to_q|to_k|to_v|to_out|proj_in|proj_out|"
    "time_emb_proj|time_embedding|add_embedding|linear_1|linear_2|conv_in|conv_out|conv_shortcut|"
    "text_model|self_attn|q_proj|k_proj|v_proj|out_proj|text_projection|[a-z0-9]+"
)
# How paths begin, of a denoiser and of a text encoder.
_FIRST = {
    False: re.compile(r"(down|up)_blocks\.|mid_block\.|conv_(in|out)|(time|add)_embedding\."),
    True: re.compile(r"text_model\.|text_projection"),
}
_ORIGINAL = re.compile(r"(^|[._])((input|output)_blocks|middle_block|time_embed|label_emb)[._]\d")
_SDXL = re.compile(
    r"lora_unet_(input_blocks|middle_block|output_blocks)|lora_te2_|text_encoder_2\.|"
    r".*transformer_blocks[._][1-9]"
)


def is_encoder(name: str) -> bool:
    """Whether a part, or something inside it, is a text encoder's; all else is the denoiser's.

    Args:
        name: "text_encoder", "unet.mid_block" and the like.
    Returns:
        True for text encoders.
    """
    return name.startswith("text_encoder")


def is_unet(name: str) -> bool:
    """Whether a name in kohya's format is one of a U-Net's layer.

    Args:
        name: such as "lora_unet_mid_block_attentions_0_proj_in", or with Stability's block names.
    Returns:
        False for transformers, which have kohya's prefix "lora_unet_" too.
    """
    path = ".".join(_WORD.findall(name.removeprefix("lora_unet_")))
    return is_sdxl(name) or _FIRST[False].match(path) is not None


def is_sdxl(name: str) -> bool:
    """Whether a layer's name, in either format, can only be one of SDXL.

    Args:
        name: of a layer.
    Returns:
        True for Stability's block names, a second text encoder, or deep transformers.
    """
    return _SDXL.match(name) is not None


def is_original(name: str) -> bool:
    """Whether a layer is named as in the code that its model was first written in.

    Args:
        name: of a layer, in any format.
    Returns:
        True for Stability's block names, as ComfyUI's own format has them.
    """
    return _ORIGINAL.search(name) is not None


def place(name: str) -> tuple[str, str]:
    """Part and path of the module that a kohya name stands for.

    Args:
        name: for example "lora_unet_mid_block_attentions_0_proj_in".
    Returns:
        For example ("unet", "mid_block.attentions.0.proj_in").
    Raises:
        ValueError: no name of a U-Net's or text encoder's layer.
    """
    for prefix, part in _PREFIXES.items():
        path = ".".join(_WORD.findall(name.removeprefix(prefix)))
        if name.startswith(prefix) and _FIRST[is_encoder(part)].match(path):
            return part, path
    raise ValueError(
        f"{name} is no name of a layer of Stable Diffusion; name the base model (--base) to look "
        "it up in"
    )


def kohya_name(part: str, path: str) -> str:
    """The inverse of `place`.

    Args:
        part: "unet" or "text_encoder".
        path: of the module, with or without "text_model." in front.
    Returns:
        Kohya's name.
    """
    if part == "unet":
        return f"lora_unet_{path}".replace(".", "_")
    return f"lora_te_text_model_{path.removeprefix('text_model.')}".replace(".", "_")
