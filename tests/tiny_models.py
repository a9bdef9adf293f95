"""Base models of the true classes, small enough to build in a test: folders and single files."""

import re
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from workbench.models.clip import byte_pair_tokenizer
from workbench.models.naming import original_path

LETTER_TOKENS = 2 * 256 + 2  # bytes, bytes that end a word, start, end


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.7,
    )


def tiny_text_config(width: int, **options) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=LETTER_TOKENS,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        bos_token_id=LETTER_TOKENS - 2,
        eos_token_id=LETTER_TOKENS - 1,
        pad_token_id=LETTER_TOKENS - 1,
        **options,
    )


def tiny_scheduler(prediction: str = "epsilon") -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )


def build_sd(folder: Path, *, version: int = 1) -> Path:
    """Write a tiny Stable Diffusion 1.x (epsilon) or 2.x (velocity) in diffusers layout."""
    torch.manual_seed(version)
    second = version == 2
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=[2, 4] if second else 2,
        use_linear_projection=second,
        norm_num_groups=8,
    )
    pipeline = StableDiffusionPipeline(
        unet=unet,
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(
            tiny_text_config(32, hidden_act="gelu" if second else "quick_gelu")
        ),
        tokenizer=byte_pair_tokenizer([], pad="!" if second else "<|endoftext|>"),
        scheduler=tiny_scheduler("v_prediction" if second else "epsilon"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def build_sdxl(folder: Path) -> Path:
    """Write a tiny Stable Diffusion XL in diffusers layout."""
    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16, 16),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=32 + 48,
        attention_head_dim=(2, 4, 4),
        use_linear_projection=True,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 48,
    )
    pipeline = StableDiffusionXLPipeline(
        unet=unet,
        vae=tiny_vae(),
        text_encoder=CLIPTextModel(tiny_text_config(32)),
        text_encoder_2=CLIPTextModelWithProjection(
            tiny_text_config(48, hidden_act="gelu", projection_dim=48)
        ),
        tokenizer=byte_pair_tokenizer([]),
        tokenizer_2=byte_pair_tokenizer([], pad="!"),
        scheduler=tiny_scheduler(),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def to_single_file(folder: Path, path: Path) -> Path:
    """Write the weights of a diffusers folder as one file of Stability's original layout."""
    config = UNet2DConditionModel.load_config(folder / "unet")
    parts = {}
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        for file in (folder / part).glob("*.safetensors"):
            parts[part] = load_file(file)
    tensors = in_single_file(parts, config)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return path


def in_single_file(parts: dict[str, dict], config: dict) -> dict:
    """Give the weights of each part their names in one file of Stability's original layout."""
    tensors = {}
    for key, tensor in parts["unet"].items():
        module, _, kind = key.rpartition(".")
        tensors[f"model.diffusion_model.{original_path(module, config)}.{kind}"] = tensor
    for key, tensor in parts["vae"].items():
        conv = "attentions" in key and key.endswith("weight") and tensor.ndim == 2
        tensors[f"first_stage_model.{_original_vae(key)}"] = (
            tensor[..., None, None] if conv else tensor
        )
    text = parts["text_encoder"]
    if "text_encoder_2" in parts:
        tensors |= _old_clip(text, "conditioner.embedders.0.transformer.")
        return tensors | _open_clip(parts["text_encoder_2"], "conditioner.embedders.1.model.")
    if config.get("use_linear_projection"):
        return tensors | _open_clip(text, "cond_stage_model.model.")
    return tensors | _old_clip(text, "cond_stage_model.transformer.")


def _original_vae(key: str) -> str:
    key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}", key
    )
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    for new, old in (
        ("mid_block.attentions.0", "mid.attn_1"),
        ("group_norm", "norm"),
        ("to_out.0", "proj_out"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
    ):
        key = key.replace(new, old)
    return key


def _old_clip(tensors: dict, prefix: str) -> dict:
    """The names before transformers 5, with the buffer that old files carry along."""
    named = {f"{prefix}text_model.{k.removeprefix('text_model.')}": t for k, t in tensors.items()}
    return named | {f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}


def _open_clip(tensors: dict, prefix: str) -> dict:
    """OpenCLIP's names: query, key and value in one tensor, and the projection transposed."""
    named = {}
    for key, tensor in tensors.items():
        key = key.removeprefix("text_model.").replace("encoder.layers", "transformer.resblocks")
        if "k_proj" in key or "v_proj" in key:
            continue
        if "q_proj" in key:
            q = next(
                k for k in tensors if k.endswith(key.replace("transformer.resblocks", "layers"))
            )
            parts = [tensors[q.replace("q_proj", p)] for p in ("q_proj", "k_proj", "v_proj")]
            key, tensor = key.replace("self_attn.q_proj.", "attn.in_proj_"), torch.cat(parts)
        for new, old in (
            ("self_attn", "attn"),
            ("layer_norm", "ln_"),
            ("fc1", "c_fc"),
            ("fc2", "c_proj"),
            ("embeddings.token_embedding.weight", "token_embedding.weight"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
            ("final_ln_", "ln_final"),
        ):
            key = key.replace(new, old)
        if key == "text_projection.weight":
            key, tensor = "text_projection", tensor.T
        named[prefix + key] = tensor
    return named
