"""Names in LoRA files against literal lists: sd-scripts' files, and diffusers' own reader."""

import pytest
import torch
from torch.nn import Linear

from workbench.models.naming import original_path, text_name
from workbench.models.source import CONFIGS

SDXL = {
    "layers_per_block": 2,
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}

# Keys as sd-scripts writes them for SDXL, beside the module that diffusers reads them into.
SDXL_NAMES = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "down_blocks.0.resnets.1.conv1": "input_blocks.2.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.4.0.skip_connection",
    "down_blocks.1.attentions.0.proj_in": "input_blocks.4.1.proj_in",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
    ),
    "down_blocks.1.attentions.1.transformer_blocks.1.ff.net.0.proj": (
        "input_blocks.5.1.transformer_blocks.1.ff.net.0.proj"
    ),
    "down_blocks.2.attentions.0.transformer_blocks.9.attn2.to_out.0": (
        "input_blocks.7.1.transformer_blocks.9.attn2.to_out.0"
    ),
    "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k": (
        "input_blocks.8.1.transformer_blocks.0.attn2.to_k"
    ),
    "mid_block.resnets.0.time_emb_proj": "middle_block.0.emb_layers.1",
    "mid_block.attentions.0.transformer_blocks.3.ff.net.2": (
        "middle_block.1.transformer_blocks.3.ff.net.2"
    ),
    "mid_block.resnets.1.conv2": "middle_block.2.out_layers.3",
    "up_blocks.0.resnets.2.conv1": "output_blocks.2.0.in_layers.2",
    "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v": (
        "output_blocks.0.1.transformer_blocks.0.attn1.to_v"
    ),
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
    "up_blocks.1.attentions.2.proj_out": "output_blocks.5.1.proj_out",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.2.resnets.2.conv_shortcut": "output_blocks.8.0.skip_connection",
}


@pytest.mark.parametrize(("path", "expected"), SDXL_NAMES.items())
def test_sdxl_modules_have_the_names_of_the_original_code(path: str, expected: str) -> None:
    assert original_path(path, SDXL) == expected


def test_diffusers_maps_our_sdxl_names_back_to_its_modules() -> None:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

    with torch.device("meta"):
        config = UNet2DConditionModel.load_config(str(CONFIGS / "sdxl" / "unet"))
        unet = UNet2DConditionModel.from_config(config)
    paths = [
        path
        for path, module in unet.named_modules()
        if isinstance(module, Linear) and "attentions" in path
    ]
    assert len(paths) == 722  # sd-scripts trains 722 modules of SDXL's U-Net
    names = {f"lora_unet_{original_path(p, config)}".replace(".", "_"): p for p in paths}
    assert len(names) == len(paths)
    mapped = _maybe_map_sgm_blocks_to_diffusers({n: n for n in names}, unet.config)
    for theirs, ours in mapped.items():
        for old, new in (("input_", "down_"), ("middle_", "mid_"), ("output_", "up_")):
            theirs = theirs.replace(f"lora_unet_{old}", f"lora_unet_{new}")
        assert theirs == f"lora_unet_{names[ours]}".replace(".", "_")


def test_a_path_of_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'joint_blocks\.0' is no module"):
        original_path("joint_blocks.0", SDXL)


@pytest.mark.parametrize("level", ["", "text_model."])
def test_text_encoders_have_one_name_whatever_transformers_calls_them(level: str) -> None:
    name = text_name("lora_te1", f"{level}encoder.layers.11.mlp.fc1")
    assert name == "lora_te1_text_model_encoder_layers_11_mlp_fc1"
    assert text_name("lora_te2", "text_projection") == "lora_te2_text_projection"
