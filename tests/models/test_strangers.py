"""A base that no family knows is named as what it is, before anything is loaded."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    CogVideoXTransformer3DModel,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    HunyuanVideoTransformer3DModel,
    Lumina2Transformer2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    UNetSpatioTemporalConditionModel,
    WanTransformer3DModel,
)
from diffusers.models import StableCascadeUNet
from safetensors.torch import save_file

from workbench.models import loading
from workbench.models.base import BaseSettings
from workbench.settings import SettingsError
from workbench.store import FileRefused

CONFIGS = {
    SD3Transformer2DModel: {"num_layers": 1, "pos_embed_max_size": 8, "sample_size": 8},
    FluxTransformer2DModel: {"num_layers": 1, "num_single_layers": 1},
    Flux2Transformer2DModel: {"num_layers": 1, "num_single_layers": 1},
    QwenImageTransformer2DModel: {"num_layers": 1},
    WanTransformer3DModel: {"num_layers": 1},
    PixArtTransformer2DModel: {"num_layers": 1},
    Lumina2Transformer2DModel: {"num_layers": 1},
    StableCascadeUNet: {},
    AuraFlowTransformer2DModel: {"num_mmdit_layers": 1, "num_single_dit_layers": 1},
    CogVideoXTransformer3DModel: {"num_layers": 1},
    HunyuanVideoTransformer3DModel: {"num_layers": 1, "num_single_layers": 1},
    SanaTransformer2DModel: {"num_layers": 1},
    UNetSpatioTemporalConditionModel: {},
}
TITLES = {
    SD3Transformer2DModel: "Stable Diffusion 3",
    FluxTransformer2DModel: "FLUX",
    Flux2Transformer2DModel: r"FLUX\.2",
    QwenImageTransformer2DModel: "Qwen-Image",
    WanTransformer3DModel: "Wan",
    PixArtTransformer2DModel: "PixArt",
    Lumina2Transformer2DModel: "Lumina 2",
    StableCascadeUNet: "Stable Cascade",
    AuraFlowTransformer2DModel: "AuraFlow",
    CogVideoXTransformer3DModel: "CogVideoX",
    HunyuanVideoTransformer3DModel: "HunyuanVideo",
    SanaTransformer2DModel: "Sana",
    UNetSpatioTemporalConditionModel: "a video U-Net",
}


def one_file(path: Path, names: list[str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_file({name: torch.zeros(1) for name in names}, path)
    return path


def refused(path: Path, what: str) -> str:
    with pytest.raises(FileRefused, match=what) as caught:
        loading.locate(BaseSettings(path=str(path)))
    said = str(caught.value)
    assert said.startswith(str(path)) and "can be trained" in said and len(said) < 700
    return said


@pytest.mark.parametrize("kind", CONFIGS, ids=lambda kind: kind.__name__)
def test_transformers_in_diffusers_names(kind: type, tmp_path: Path) -> None:
    """Names of the true classes, on the meta device."""
    with torch.device("meta"):
        names = list(kind(**CONFIGS[kind]).state_dict())
    refused(one_file(tmp_path / "model.safetensors", names), f"this is {TITLES[kind]}")
    prefixed = [f"model.diffusion_model.{name}" for name in names]
    refused(one_file(tmp_path / "comfy.safetensors", prefixed), f"this is {TITLES[kind]}")


NATIVE = {
    "FLUX": ["double_blocks.0.img_attn.qkv.weight", "img_in.weight"],
    r"FLUX\.2": ["double_blocks.0.img_attn.qkv.weight", "img_in.weight",
              "double_stream_modulation_img.lin.weight"],
    "Chroma": ["double_blocks.0.img_attn.qkv.weight", "img_in.weight",
               "distilled_guidance_layer.in_proj.weight"],
    "Stable Diffusion 3": ["model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight"],
    "AuraFlow": ["model.register_tokens", "model.cond_seq_linear.weight",
                 "model.double_layers.0.attn.w1q.weight"],
    "HunyuanDiT": ["text_embedding_padding", "blocks.0.attn1.Wqkv.weight"],
    "HiDream": ["double_stream_blocks.0.block.attn1.to_q.weight"],
    "LTX-Video": ["model.diffusion_model.patchify_proj.weight",
                  "model.diffusion_model.adaln_single.linear.weight",
                  "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"],
    "Stable Cascade's stage A": ["vquantizer.codebook.weight", "up_blocks.0.weight"],
    "a U-Net and autoencoder": ["model.diffusion_model.input_blocks.0.0.weight",
                                "model.diffusion_model.output_blocks.0.0.weight",
                                "first_stage_model.encoder.down.0.block.0.conv1.weight",
                                "first_stage_model.decoder.up.0.block.0.conv1.weight"],
    "a diffusers model in one file": ["unet.down_blocks.0.resnets.0.conv1.weight",
                                      "text_encoder.text_model.encoder.layers.0.mlp.fc1.weight"],
    "a diffusion transformer of another": ["transformer_blocks.0.attn.to_q.weight"],
    "Wan": ["patch_embedding.weight", "head.modulation", "blocks.0.self_attn.q.weight"],
    "PixArt": ["t_block.1.weight", "y_embedder.y_embedding", "blocks.0.attn.qkv.weight"],
    "Lumina 2": ["cap_embedder.1.weight", "noise_refiner.0.attention.qkv.weight",
                 "context_refiner.0.attention.qkv.weight"],
    "a LoRA": ["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"],
    "a LoRA, not a base": ["transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
                           "transformer.x_embedder.lora_A.weight"],
    "a LoHa": ["lora_unet_mid_block.hada_w1_a"],
    "a LoKr": ["lora_unet_mid.lokr_w1"],
    "an embedding": ["emb_params"],
    "an embedding .textual inversion": ["clip_g", "clip_l"],
    "a ControlNet": ["controlnet_cond_embedding.conv_in.weight", "down_blocks.0.weight"],
    "the SDXL refiner": ["conditioner.embedders.0.model.ln_final.weight",
                         "model.diffusion_model.input_blocks.0.0.weight"],
    "a bare autoencoder": ["encoder.down.0.block.0.conv1.weight",
                           "decoder.up.0.block.0.conv1.weight"],
    "a text encoder": ["text_model.encoder.layers.0.mlp.fc1.weight"],
    "a T5": ["encoder.block.0.layer.0.SelfAttention.q.weight"],
    "a U-Net without": ["model.diffusion_model.input_blocks.0.0.weight",
                        "model.diffusion_model.output_blocks.0.0.weight"],
    "an upscaler": ["body.0.rdb1.conv1.weight"],
    "Z-Image's transformer in a single file": ["x_pad_token", "cap_embedder.1.weight",
                                               "noise_refiner.0.attention.qkv.weight"],
    "none of its 1 tensors": ["weights"],
}  # fmt: skip


@pytest.mark.parametrize("what", NATIVE)
def test_files_in_the_layouts_that_people_download(what: str, tmp_path: Path) -> None:
    path = one_file(tmp_path / "model.safetensors", NATIVE[what])
    with pytest.raises(FileRefused, match=f"{what}.*") as caught:
        loading.locate(BaseSettings(path=str(path)))
    assert str(caught.value).startswith(str(path))


def test_a_bare_autoencoder_of_diffusers(tmp_path: Path) -> None:
    AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).save_pretrained(tmp_path / "vae")
    refused(tmp_path / "vae", "this is a bare autoencoder .base.vae takes it.")
    refused(tmp_path, "the denoiser is missing: there is vae, no model_index.json")
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    refused(file, "this is a bare autoencoder .base.vae takes it.")


PIPELINES = {
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "FLUX",
    "Flux2KleinPipeline": r"FLUX\.2",
    "QwenImagePipeline": "Qwen-Image",
    "WanPipeline": "Wan",
    "PixArtSigmaPipeline": "PixArt",
    "StableCascadePriorPipeline": "Stable Cascade",
    "ChromaPipeline": "Chroma",
    "Krea2Pipeline": "Krea 2",
}


@pytest.mark.parametrize("name", PIPELINES)
def test_folders_are_known_by_their_pipeline(name: str, tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text("{}")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    refused(tmp_path, f"this is {PIPELINES[name]} .model_index.json names {name}")


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("adapter_config.json", "a LoRA in PEFT's layout"),
        ("pytorch_lora_weights.safetensors", "a LoRA"),
        ("learned_embeds.safetensors", "an embedding"),
    ],
)
def test_folders_of_other_things(file: str, what: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("{}")
    refused(tmp_path, f"this is {what}.*it holds {file}")


def test_an_empty_folder_and_one_without_a_denoiser(tmp_path: Path) -> None:
    refused(tmp_path, "the folder is empty")
    (tmp_path / "notes.txt").write_text("mine")
    said = refused(tmp_path, "no model in diffusers layout")
    assert "unet/config.json and transformer/config.json are missing" in said
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"_class_name": "OddUNet"}')
    refused(tmp_path, "unet/config.json names OddUNet, which no family knows")


def test_the_nearest_family_is_named() -> None:
    with pytest.raises(
        SettingsError, match=r"family: must be one of.*got 'sdxll'; did you mean 'sdxl'\?"
    ):
        BaseSettings(family="sdxll")
