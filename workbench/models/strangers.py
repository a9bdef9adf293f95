"""What a base is that no family recognised: named as what it is, with the way on."""

from collections.abc import Sequence

from workbench.models import wrong_folders
from workbench.models.source import Peek
from workbench.store import FileRefused

# Tensors that only one kind of file has, and what it is; the first that matches counts. Several
# marks must all be there. Names: diffusers, Stability's and ComfyUI's layouts.
_FILES: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".hada_w1",), "a LoHa, not a base model"),
    ((".lokr_w",), "a LoKr, not a base model"),
    ((".lora_down.",), "a LoRA, not a base model"),
    ((".lora_A.",), "a LoRA, not a base model"),
    (("_lora.down.",), "a LoRA, not a base model"),
    (("lora_unet_",), "a LoRA, not a base model"),
    (("lora_te",), "a LoRA, not a base model"),
    ((".oft_",), "an OFT adapter, not a base model"),
    (("emb_params",), "an embedding (textual inversion), not a base model"),
    (("string_to_param",), "an embedding (textual inversion), not a base model"),
    (("clip_g", "clip_l"), "an embedding (textual inversion), not a base model"),
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
# Beginnings of class names in model_index.json or config.json.
_CLASSES: tuple[tuple[str, str], ...] = (
    ("StableCascade", "Stable Cascade"),
    ("Wuerstchen", "Würstchen"),
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("SD3", "Stable Diffusion 3"),
    ("Flux2", "FLUX.2"),
    ("Flux", "FLUX"),
    ("Chroma", "Chroma"),
    ("QwenImage", "Qwen-Image"),
    ("Krea2", "Krea 2"),
    ("Wan", "Wan"),
    ("PixArt", "PixArt"),
    ("Sana", "Sana"),
    ("Lumina", "Lumina"),
    ("Hunyuan", "Hunyuan"),
    ("Kolors", "Kolors"),
    ("AuraFlow", "AuraFlow"),
    ("Kandinsky", "Kandinsky"),
    ("CogView", "CogView"),
    ("CogVideo", "CogVideoX"),
    ("LTX", "LTX-Video"),
    ("HiDream", "HiDream"),
    ("Mochi", "Mochi"),
    ("OmniGen", "OmniGen"),
    ("Latte", "Latte"),
    ("Allegro", "Allegro"),
    ("Cosmos", "Cosmos"),
    ("StableVideo", "Stable Video Diffusion"),
    ("UNetSpatioTemporal", "Stable Video Diffusion"),
    ("UNet3D", "a video U-Net"),
    ("UNetMotion", "an AnimateDiff merge"),
    ("IFPipeline", "DeepFloyd IF"),
    ("StableAudio", "Stable Audio"),
    ("OnnxStableDiffusion", "an ONNX export, made for inference"),
    ("ControlNet", "a ControlNet"),
    ("StableDiffusionControlNet", "a ControlNet"),
    ("Autoencoder", "a bare autoencoder (base.vae takes it)"),
    ("AsymmetricAutoencoder", "a bare autoencoder (base.vae takes it)"),
    ("CLIPText", "a text encoder without a denoiser"),
    ("CLIPModel", "a CLIP model"),
    ("T5", "a T5 text encoder"),
    ("UNet2DConditionModel", "a U-Net without text encoder and autoencoder"),
)
_FOLDERS = (
    ("adapter_config.json", "a LoRA in PEFT's layout, not a base model"),
    ("pytorch_lora_weights.safetensors", "a LoRA, not a base model"),
    ("learned_embeds.safetensors", "an embedding (textual inversion), not a base model"),
)
_DENOISERS = ("unet", "transformer", "prior")
_OTHER_PARTS = ("vae", "text_encoder", "tokenizer", "scheduler")


def refusal(seen: Peek, titles: Sequence[str]) -> FileRefused:
    """Say what a base is that cannot be trained.

    Args:
        seen: its headers and configs.
        titles: the families that can be, for people.
    Returns:
        An error that names the file, what it is, by what it was known, and what to choose.
    """
    can = f"only base models of {', '.join(titles[:-1])} and {titles[-1]} can be trained"
    if seen.is_file:
        return _of_file(seen, can)
    return _of_folder(seen, can)


def _of_file(seen: Peek, can: str) -> FileRefused:
    for marks, kind in _FILES:
        found = [seen.first(mark) for mark in marks]
        if all(found):
            return FileRefused(f"{seen.path}: this is {kind} (it holds {found[0]}); {can}")
    return FileRefused(
        f"{seen.path}: none of its {len(seen.tensors)} tensors, the first of which is "
        f"{min(seen.tensors, default='none')}, tells what model it is; {can}: choose a full "
        "checkpoint or a diffusers folder"
    )


def _of_folder(seen: Peek, can: str) -> FileRefused:
    for name, kind in _FOLDERS:
        if (seen.path / name).exists():
            return FileRefused(f"{seen.path}: this is {kind} (it holds {name}); {can}")
    for part in ("", *_DENOISERS):
        where = f"{part}/config.json" if part else "config.json"
        config = seen.config(part) or {}
        named = [(str(config.get("_class_name", "")), where)]
        named += [(str(one), where) for one in config.get("architectures") or ()]
        named += [(seen.pipeline, "model_index.json")] if seen.pipeline and not part else []
        for name, by in named:
            kind = next((kind for start, kind in _CLASSES if name.startswith(start)), None)
            if kind is not None:
                return FileRefused(f"{seen.path}: this is {kind} ({by} names {name}); {can}")
    said = wrong_folders.why(seen.path) or _incomplete(seen)
    return FileRefused(f"{seen.path}: {said}; {can}")


def _incomplete(seen: Peek) -> str:
    """What a folder lacks that could be a model."""
    said = f"model_index.json names {seen.pipeline}" if seen.pipeline else "no model_index.json"
    there = [name for name in _OTHER_PARTS if (seen.path / name).is_dir()]
    if config := next((p for p in _DENOISERS if seen.config(p) is not None), None):
        name = (seen.config(config) or {}).get("_class_name", "no class")
        return f"{config}/config.json names {name}, which no family knows, and {said}"
    if there:
        return (
            f"the denoiser is missing: there is {', '.join(there)}, {said}, but neither "
            "unet/config.json nor transformer/config.json; copy the folder whole"
        )
    return (
        f"no model in diffusers layout: unet/config.json and transformer/config.json are missing, "
        f"and there is {said}; choose the folder that holds unet/ or transformer/, vae/ and "
        "text_encoder/"
    )
