"""Small models of the true classes, and what a family says about them."""

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

TARGETS = {
    "unet": {
        "attention": ("to_q", "to_k", "to_v", "to_out.0"),
        "feedforward": ("ff.net.0.proj", "ff.net.2"),
        "projection": ("proj_in", "proj_out"),
        "conv": ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv"),
        "time": ("time_emb_proj", "time_embedding.linear_1", "time_embedding.linear_2"),
    },
    "text_encoder": {"attention": ("q_proj", "k_proj", "v_proj", "out_proj"), "conv": ()},
}
ALL_GROUPS = tuple(TARGETS["unet"])


def parts() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    config = CLIPTextConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    return {"unet": unet.eval(), "text_encoder": CLIPTextModel(config).eval()}


def answer(models: dict[str, nn.Module]) -> Tensor:
    """The noise that text encoder and U-Net predict for fixed inputs."""
    draw = torch.Generator().manual_seed(1)
    dtype = next(models["unet"].parameters()).dtype
    tokens = torch.randint(0, 64, (2, 7), generator=draw)
    latents = torch.randn(2, 4, 8, 8, generator=draw).to(dtype)
    hidden = models["text_encoder"](tokens).last_hidden_state.to(dtype)
    return models["unet"](latents, torch.tensor([10, 500]), hidden).sample


def learn(trainables: dict[str, nn.Parameter], scale: float = 0.1) -> None:
    """Give all trainable weights values, as if training had."""
    draw = torch.Generator().manual_seed(2)
    for p in trainables.values():
        p.data = p.data + scale * torch.randn(p.shape, generator=draw).to(p)


def name_of(part: str, path: str) -> str:
    """Kohya's names of SD 1.x, spelled out again."""
    if part == "unet":
        return "lora_unet_" + path.replace(".", "_")
    return "lora_te_text_model_" + path.removeprefix("text_model.").replace(".", "_")
