"""The names of tensors in published models, written down from the files of the Hub.

Two layouts: Stability's original one (a single file) and diffusers' folders. Each list is spelled
out from what such files hold, not from the code that writes them.
"""

from collections.abc import Iterable

BOTH = ("weight", "bias")


def _both(*paths: str) -> list[str]:
    return [f"{path}.{leaf}" for path in paths for leaf in BOTH]


def _transformer(path: str, depth: int) -> list[str]:
    found = _both(f"{path}.norm", f"{path}.proj_in", f"{path}.proj_out")
    for k in range(depth):
        block = f"{path}.transformer_blocks.{k}"
        found += _both(*(f"{block}.norm{n}" for n in (1, 2, 3)))
        found += _both(f"{block}.ff.net.0.proj", f"{block}.ff.net.2")
        for attention in ("attn1", "attn2"):
            found += [f"{block}.{attention}.to_{x}.weight" for x in "qkv"]
            found += _both(f"{block}.{attention}.to_out.0")
    return found


def _original_resnet(path: str, skip: bool) -> list[str]:
    inner = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3"]
    return _both(*(f"{path}.{x}" for x in inner + ["skip_connection"] * skip))


def original_unet(version: str) -> set[str]:
    """`model.diffusion_model.` of v1-5-pruned (686), v2-1_768 (686) and sd_xl_base_1.0 (1680)."""
    found = _both("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    if version == "sdxl":
        found += _both("label_emb.0.0", "label_emb.0.2")
        downs, mid = {4: 2, 5: 2, 7: 10, 8: 10}, 10
        ups = {0: 10, 1: 10, 2: 10, 3: 2, 4: 2, 5: 2}
        resnets, skips, halved = (1, 2, 4, 5, 7, 8), (4, 7), (3, 6)
        doubled, last = ("2.2", "5.2"), 9
    else:
        downs, mid, ups = dict.fromkeys((1, 2, 4, 5, 7, 8), 1), 1, dict.fromkeys(range(3, 12), 1)
        resnets, skips, halved = (1, 2, 4, 5, 7, 8, 10, 11), (4, 7), (3, 6, 9)
        doubled, last = ("2.1", "5.2", "8.2"), 12
    for k in resnets:
        found += _original_resnet(f"input_blocks.{k}.0", k in skips)
    found += _both(*(f"input_blocks.{k}.0.op" for k in halved))
    found += _original_resnet("middle_block.0", False) + _original_resnet("middle_block.2", False)
    found += _transformer("middle_block.1", mid)
    for k in range(last):
        found += _original_resnet(f"output_blocks.{k}.0", True)
    found += _both(*(f"output_blocks.{k}.conv" for k in doubled))
    for k, depth in downs.items():
        found += _transformer(f"input_blocks.{k}.1", depth)
    for k, depth in ups.items():
        found += _transformer(f"output_blocks.{k}.1", depth)
    return {f"model.diffusion_model.{name}" for name in found}


def original_vae() -> set[str]:
    """`first_stage_model.` of SD 1.x, 2.x and XL: 248 tensors."""

    def resnet(path: str, shortcut: bool) -> list[str]:
        inner = ["norm1", "conv1", "norm2", "conv2"] + ["nin_shortcut"] * shortcut
        return _both(*(f"{path}.{x}" for x in inner))

    found = _both("quant_conv", "post_quant_conv")
    for half in ("encoder", "decoder"):
        found += _both(*(f"{half}.{x}" for x in ("conv_in", "norm_out", "conv_out")))
        found += resnet(f"{half}.mid.block_1", False) + resnet(f"{half}.mid.block_2", False)
        found += _both(*(f"{half}.mid.attn_1.{x}" for x in ("norm", "q", "k", "v", "proj_out")))
    for k in range(4):
        for j in range(2):
            found += resnet(f"encoder.down.{k}.block.{j}", (k, j) in ((1, 0), (2, 0)))
        for j in range(3):
            found += resnet(f"decoder.up.{k}.block.{j}", (k, j) in ((0, 0), (1, 0)))
    found += _both(*(f"encoder.down.{k}.downsample.conv" for k in (0, 1, 2)))
    found += _both(*(f"decoder.up.{k}.upsample.conv" for k in (1, 2, 3)))
    return {f"first_stage_model.{name}" for name in found}


def hub_clip(layers: int) -> set[str]:
    """text_encoder/model.safetensors of the Hub: 16 a layer and 4; 196 of SD 1.5's."""
    found = [f"embeddings.{x}_embedding.weight" for x in ("token", "position")]
    found += _both("final_layer_norm")
    inner = [f"self_attn.{x}_proj" for x in ("q", "k", "v", "out")]
    inner += ["mlp.fc1", "mlp.fc2", "layer_norm1", "layer_norm2"]
    for k in range(layers):
        found += _both(*(f"encoder.layers.{k}.{x}" for x in inner))
    return {f"text_model.{name}" for name in found}


def original_clip(layers: int) -> set[str]:
    """The same in a single file, which also numbers the positions."""
    return hub_clip(layers) | {"text_model.embeddings.position_ids"}


def original_open_clip(layers: int, *extra: str) -> set[str]:
    """OpenCLIP's text encoder: 12 a layer and 4."""
    found = ["token_embedding.weight", "positional_embedding", *_both("ln_final"), *extra]
    for k in range(layers):
        block = f"transformer.resblocks.{k}"
        found += [f"{block}.attn.in_proj_{leaf}" for leaf in BOTH]
        inner = ("attn.out_proj", "ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")
        found += _both(*(f"{block}.{x}" for x in inner))
    return set(found)


def _prefixed(prefix: str, names: Iterable[str]) -> set[str]:
    return {prefix + name for name in names}


def original_text(version: str) -> set[str]:
    """The text encoders of a single file, as far as anything reads them."""
    if version == "sd1":
        return _prefixed("cond_stage_model.transformer.", original_clip(12))
    if version == "sd2":
        return _prefixed("cond_stage_model.model.", original_open_clip(23))
    second = original_open_clip(32, "text_projection")
    return _prefixed("conditioner.embedders.0.transformer.", original_clip(12)) | _prefixed(
        "conditioner.embedders.1.model.", second
    )


def hub_unet() -> set[str]:
    """unet/diffusion_pytorch_model.safetensors of SD 1.5 and 2.1: 686 tensors."""

    def resnet(path: str, shortcut: bool) -> list[str]:
        inner = ["norm1", "conv1", "time_emb_proj", "norm2", "conv2"]
        return _both(*(f"{path}.{x}" for x in inner + ["conv_shortcut"] * shortcut))

    found = _both("time_embedding.linear_1", "time_embedding.linear_2")
    found += _both("conv_in", "conv_norm_out", "conv_out")
    for k in range(4):
        for j in range(2):
            found += resnet(f"down_blocks.{k}.resnets.{j}", (k, j) in ((1, 0), (2, 0)))
            found += _transformer(f"down_blocks.{k}.attentions.{j}", 1) if k < 3 else []
        for j in range(3):
            found += resnet(f"up_blocks.{k}.resnets.{j}", True)
            found += _transformer(f"up_blocks.{k}.attentions.{j}", 1) if k > 0 else []
    found += _both(*(f"down_blocks.{k}.downsamplers.0.conv" for k in range(3)))
    found += _both(*(f"up_blocks.{k}.upsamplers.0.conv" for k in range(3)))
    found += resnet("mid_block.resnets.0", False) + resnet("mid_block.resnets.1", False)
    return set(found + _transformer("mid_block.attentions.0", 1))
