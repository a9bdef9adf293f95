"""Other names of modules, against literal pairs of diffusers' converters and of ComfyUI's files."""

import pytest

from workbench.layouts.aliases import Share, other_paths, share_of

SD = {
    "layers_per_block": 2,
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
# diffusers' path and Stability's, of SD 1.5.
SD15 = {
    "conv_in": "input_blocks.0.0",
    "down_blocks.0.attentions.0.proj_in": "input_blocks.1.1.proj_in",
    "down_blocks.1.attentions.1.transformer_blocks.0.attn1.to_q": (
        "input_blocks.5.1.transformer_blocks.0.attn1.to_q"
    ),
    "down_blocks.2.downsamplers.0.conv": "input_blocks.9.0.op",
    "down_blocks.3.resnets.1.conv2": "input_blocks.11.0.out_layers.3",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.2": (
        "middle_block.1.transformer_blocks.0.ff.net.2"
    ),
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0": (
        "output_blocks.11.1.transformer_blocks.0.attn2.to_out.0"
    ),
    "time_embedding.linear_2": "time_embed.2",
}


@pytest.mark.parametrize(("path", "original"), SD15.items())
def test_a_unet_of_sd15(path: str, original: str) -> None:
    assert list(other_paths(path, SD)) == [original]


def test_modules_that_such_unets_do_not_have() -> None:
    assert list(other_paths("class_embedding.linear_1", SD)) == []


def test_z_image() -> None:
    assert list(other_paths("layers.3.attention.to_out.0", {})) == ["layers.3.attention.out"]
    assert list(other_paths("all_x_embedder.2-1", {})) == ["x_embedder"]
    assert list(other_paths("all_final_layer.2-1.linear", {})) == ["final_layer.linear"]
    assert list(other_paths("layers.3.feed_forward.w1", {})) == []
    assert share_of("noise_refiner.0.attention.to_v") == Share(
        "noise_refiner.0.attention.qkv", 2, 3
    )
    assert share_of("layers.3.attention.to_out.0") is None
