"""Which model a file holds that is no adapter, by the names of its tensors."""

from collections.abc import Iterable
from typing import NamedTuple


class Known(NamedTuple):
    """What a file is.

    Attributes:
        what: for people, with its article.
        by: the tensor by which it is known.
    """

    what: str
    by: str


EMBEDDING = "an embedding (textual inversion)"
# Tensors that only one kind of file has, and what it is; the first that matches counts. Several
# marks must all be there. Names: diffusers, Stability's and ComfyUI's layouts.
_MARKS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("emb_params",), EMBEDDING),
    (("string_to_param",), EMBEDDING),
    (("clip_g", "clip_l"), EMBEDDING),
    (("control_model.",), "a ControlNet"),
    (("controlnet_",), "a ControlNet"),
    (("input_hint_block",), "a ControlNet"),
    (("ip_adapter",), "an IP-Adapter"),
    (("motion_modules",), "an AnimateDiff motion module"),
    (("conditioner.embedders.0.model.",), "the SDXL refiner"),
    (("effnet_mapper",), "Stable Cascade (stage B)"),
    (("clip_txt_pooled_mapper",), "Stable Cascade"),
    (("vquantizer.",), "Stable Cascade's stage A"),
    (("individual_token_refiner",), "HunyuanVideo"),
    (("context_embedder.token_refiner.",), "HunyuanVideo or HunyuanImage"),
    (("text_embedding_padding",), "HunyuanDiT"),
    (("register_tokens", "cond_seq_linear"), "AuraFlow"),
    (("register_tokens", "joint_transformer_blocks."), "AuraFlow"),
    (("double_stream_blocks.",), "HiDream"),
    (("text_transformer_blocks.", "visual_transformer_blocks."), "Kandinsky"),
    (("prd_embedding", "proj_to_clip_embeddings"), "a prior of unCLIP or Kandinsky"),
    (("caption_norm.", "patch_embed"), "Sana"),
    (("patchify_proj.",), "LTX-Video"),
    (("caption_projection.", "scale_shift_table", "time_embed."), "LTX-Video"),
    (("pos_frequencies",), "Mochi"),
    (("patch_embed.text_proj",), "CogVideoX or CogView"),
    (("double_stream_modulation_img",), "FLUX.2"),
    (("distilled_guidance_layer",), "Chroma"),
    (("double_blocks.",), "FLUX or a model of its structure"),
    (("single_transformer_blocks.", "x_embedder."), "FLUX or a model of its structure"),
    (("joint_blocks.",), "Stable Diffusion 3"),
    (("context_embedder.", "pos_embed.proj"), "Stable Diffusion 3"),
    (("txt_norm.", "img_in."), "Qwen-Image"),
    (("text_fusion",), "Krea 2"),
    (("context_refiner.", "noise_refiner."), "Lumina 2 or a model of its structure"),
    (("adaln_single.", "transformer_blocks."), "PixArt or a model of its structure"),
    (("t_block.", "y_embedder."), "PixArt"),
    (("patch_embedding.", "head.modulation"), "Wan"),
    (("patch_embedding.", "condition_embedder."), "Wan"),
    (
        ("unet.down_blocks.", "text_encoder."),
        "a diffusers model in one file, which is read as a folder",
    ),
    (("temp_convs.",), "a video U-Net"),
    (("temporal_transformer_blocks.",), "a video U-Net"),
    (
        ("input_blocks.", "output_blocks.", "decoder.up"),
        "a U-Net and autoencoder without text encoder",
    ),
    (("text_model.encoder.layers",), "a text encoder without a denoiser"),
    (("transformer.resblocks",), "a text encoder without a denoiser"),
    (("encoder.block.0.layer",), "a T5 text encoder"),
    (("decoder.up", "encoder.down"), "a bare autoencoder (base.vae takes it)"),
    (("decoder.up.",), "a bare autoencoder's decoder"),
    (("input_blocks.", "output_blocks."), "a U-Net without text encoder and autoencoder"),
    (("down_blocks.", "up_blocks.", "conv_in."), "a U-Net without text encoder and autoencoder"),
    (("rdb1.conv1",), "an upscaler"),
    (("transformer_blocks.",), "a diffusion transformer of another family"),
)
# Beginnings that only a whole model's file has, whatever else is missing from it.
_WHOLE = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.", "conditioner.")


def model_of(names: Iterable[str]) -> Known | None:
    """Recognise a file that is no adapter.

    Args:
        names: of all its tensors.
    Returns:
        What it is and by what it is known; None where nothing tells.
    """
    ordered = sorted(names)
    for marks, what in _MARKS:
        found = [next((name for name in ordered if mark in name), None) for mark in marks]
        if all(found):
            return Known(what, str(found[0]))
    return None


def whole_model(names: Iterable[str]) -> Known | None:
    """Recognise a checkpoint, whole or in part, in Stability's layout.

    Args:
        names: of all its tensors, none of which is an adapter's.
    Returns:
        What it is and by what it is known; None where nothing tells.
    """
    found = next((name for name in sorted(names) if name.startswith(_WHOLE)), None)
    return None if found is None else Known("a checkpoint, a whole model or a part of one", found)
