"""What is no adapter of a method that is read: named, by which tensor, and with a way on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workbench.adapters import read
from workbench.adapters.files import require_adapter
from workbench.store import FileRefused

LAYER = "lora_unet_mid_block_attentions_0_proj_in"
LORA = {f"{LAYER}.lora_down.weight": torch.ones(2, 4), f"{LAYER}.lora_up.weight": torch.ones(4, 2)}

METHODS = {
    f"{LAYER}.oft_blocks": "OFT",
    "base_model.model.mid_block.attentions.0.proj_in.oft_R.weight": "OFT",
    "base_model.model.mid_block.proj_in.boft_R": "BOFT",
    f"{LAYER}.a1.weight": "GLoRA",
    f"{LAYER}.on_input": "IA3",
    "base_model.model.mid_block.proj_in.ia3_l": "IA3",
    f"{LAYER}.w_norm": "trained normalisation layers",
    f"{LAYER}.diff": "full differences of weights",
    f"{LAYER}.diff_b": "full differences of weights",
    "diffusion_model.input_blocks.1.1.norm.set_weight": "full differences of weights",
    f"{LAYER}.reshape_weight": "a LoRA that widens",
    "unet.mid_block.proj_in.lora_B.bias": "a LoRA with biases",
    "bundle_emb.mochi.string_to_param.*": "a textual inversion inside the LoRA",
    "lora_controlnet": "a ControlNet-LoRA",
    "lllite_unet_input_blocks_4_1.down.0.weight": "a ControlNet-LLLite",
    "base_model.model.x.vera_lambda_b": "another of PEFT's methods",
    "unet.mid_block.attn1.processor.to_k_custom_diffusion.weight": "Custom Diffusion",
}


@pytest.mark.parametrize("beside", [True, False], ids=["beside a LoRA", "alone"])
@pytest.mark.parametrize("name", METHODS)
def test_methods_that_are_not_read(name: str, beside: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file((LORA if beside else {}) | {name: torch.ones(2)}, path)
    for look in (read, require_adapter):
        with pytest.raises(FileRefused) as caught:
            look(path)
        said = str(caught.value)
        assert said.startswith(f"{path}: {METHODS[name]}") and f"({name})" in said
        assert "nothing was loaded: " in said


OTHERS = {
    "an embedding": ["emb_params"],
    "an embedding ": ["clip_g", "clip_l"],
    "a ControlNet": ["control_model.input_hint_block.0.weight"],
    "FLUX": ["double_blocks.0.img_attn.qkv.weight"],
    "a checkpoint": ["model.diffusion_model.input_blocks.0.0.weight"],
    "a bare autoencoder": ["encoder.down.0.block.0.conv1.weight", "decoder.up.0.conv.weight"],
    "a text encoder": ["text_model.encoder.layers.0.mlp.fc1.weight"],
    "a U-Net": ["down_blocks.0.conv.weight", "up_blocks.0.conv.weight", "conv_in.weight"],
    "an IP-Adapter": ["ip_adapter.1.to_k_ip.weight"],
}


@pytest.mark.parametrize("what", OTHERS)
def test_files_that_are_no_adapters(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: torch.ones(2) for name in OTHERS[what]}, path)
    with pytest.raises(FileRefused, match=f"this is {what.strip()}.*, not a LoRA .it holds"):
        read(path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32])
def test_integers_are_refused_by_their_type(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: tensor.to(dtype) for name, tensor in LORA.items()}, path)
    with pytest.raises(FileRefused, match=r"quantised: .*lora_down\.weight is of type [IU]\d"):
        read(path)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_eight_bit_floats_are_widened(dtype: torch.dtype, tmp_path: Path) -> None:
    """Values that both types hold: 3 and 4 significant bits."""
    values = torch.tensor([[0.5, -1.75, 12.0, 0.015625], [3.0, 1.25, -0.0625, 448.0 / 7]])
    path = tmp_path / "x.safetensors"
    up = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    named = {f"{LAYER}.lora_down.weight": values, f"{LAYER}.lora_up.weight": up}
    save_file({name: tensor.to(dtype) for name, tensor in named.items()}, path)
    assert torch.equal(read(path).layers[LAYER].delta(), values)


@pytest.mark.parametrize("name", ["weight_scale", "scale_weight"])
def test_scales_are_multiplied_in(name: str, tmp_path: Path) -> None:
    """One for a matrix, or one for each of its rows."""
    path = tmp_path / "x.safetensors"
    eight = {key: tensor.to(torch.float8_e4m3fn) for key, tensor in LORA.items()}
    rows = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    scales = {f"{LAYER}.lora_down.{name}": torch.tensor(0.5), f"{LAYER}.lora_up.{name}": rows}
    save_file(eight | scales, path)
    assert torch.equal(read(path).layers[LAYER].delta(), (0.5 * 2 * rows).expand(4, 4))
    save_file(eight | {f"{LAYER}.lora_up.{name}": torch.ones(2, 2)}, path)
    with pytest.raises(FileRefused, match="one number or one for each row"):
        read(path)
    save_file(eight | {f"x.lora_up.{name}": torch.ones(1)}, path)
    with pytest.raises(FileRefused, match=r"scales x\.lora_up\.weight, which is not there"):
        read(path)


def test_a_rank_of_zero(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    empty = {
        f"{LAYER}.lora_down.weight": torch.ones(0, 4),
        f"{LAYER}.lora_up.weight": torch.ones(4, 0),
    }
    save_file(empty | {f"{LAYER}.alpha": torch.tensor(4.0)}, path)
    with pytest.raises(FileRefused, match=rf"{LAYER}: rank 0: down is \[0, 4\]"):
        read(path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({}, path)
    with pytest.raises(FileRefused, match="it holds no tensors at all"):
        read(path)
