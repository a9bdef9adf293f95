"""LoRA files renamed without their base, by the structures whose configs ship."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workbench import store
from workbench.adapters import convert, read
from workbench.evaluation.published import structure_of
from workbench.models.structures import structure
from workbench.settings import SettingsError

# Names that kohya's trainer and diffusers give the same layers of SDXL, with (out, in) of each.
SDXL = {
    "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k": (
        "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
        (640, 2048),
    ),
    "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj": (
        "unet.mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj",
        (10240, 1280),
    ),
    "lora_unet_output_blocks_5_1_proj_in": ("unet.up_blocks.1.attentions.2.proj_in", (640, 640)),
    "lora_te1_text_model_encoder_layers_11_mlp_fc1": (
        "text_encoder.text_model.encoder.layers.11.mlp.fc1",
        (3072, 768),
    ),
    "lora_te2_text_model_encoder_layers_31_self_attn_q_proj": (
        "text_encoder_2.text_model.encoder.layers.31.self_attn.q_proj",
        (1280, 1280),
    ),
}
SD1 = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k": (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
        (320, 768),
    ),
    "lora_te_text_model_encoder_layers_0_mlp_fc2": (
        "text_encoder.text_model.encoder.layers.0.mlp.fc2",
        (768, 3072),
    ),
}


def write_kohya(path: Path, layers: dict[str, tuple[str, tuple[int, int]]]) -> Path:
    tensors = {}
    for k, (name, (_, (rows, columns))) in enumerate(layers.items()):
        draws = torch.Generator().manual_seed(k)
        tensors |= {
            f"{name}.lora_down.weight": torch.randn(4, columns, generator=draws),
            f"{name}.lora_up.weight": torch.randn(rows, 4, generator=draws),
            f"{name}.alpha": torch.tensor(2.0 + k),
        }
    save_file(tensors, path)
    return path


@pytest.mark.parametrize(("version", "layers"), [("sdxl", SDXL), ("sd1", SD1)])
def test_a_file_goes_to_the_other_names_and_back(
    version: str, layers: dict[str, tuple[str, tuple[int, int]]], tmp_path: Path
) -> None:
    path = write_kohya(tmp_path / "kohya.safetensors", layers)
    there, back = tmp_path / "peft.safetensors", tmp_path / "back.safetensors"
    for source, target, to in ((path, there, "peft"), (there, back, "kohya")):
        known = structure_of(read(source), to=to)
        assert known is not None and known.version == version
        convert(source, target, to=to, parts=known.parts, name_of=known.file_name)
    expected = {f"{name}.lora_{x}.weight" for name, _ in layers.values() for x in "AB"}
    assert store.load_tensors(there).keys() == expected
    first, last = store.load_tensors(path), store.load_tensors(back)
    assert first.keys() == last.keys()
    assert all(torch.equal(tensor, last[name]) for name, tensor in first.items())


def test_sd2_is_told_from_sd1_by_its_shapes(tmp_path: Path) -> None:
    (kohya, (peft, _)) = next(iter(SD1.items()))
    file = read(write_kohya(tmp_path / "x.safetensors", {kohya: (peft, (320, 1024))}))
    found = structure_of(file, to="peft")
    assert found is not None and found.version == "sd2"


def test_the_structures_hold_no_weights() -> None:
    for version in ("sd1", "sd2", "sdxl"):
        parts = structure(version).parts.values()
        assert all(p.is_meta for part in parts for p in part.parameters())


def test_names_of_sdxl_in_an_unknown_structure_need_the_base(tmp_path: Path) -> None:
    odd = {"lora_unet_input_blocks_4_1_proj_in": ("", (16, 16))}
    with pytest.raises(SettingsError, match=r"fit no structure that ships .* with --base"):
        structure_of(read(write_kohya(tmp_path / "x.safetensors", odd)), to="peft")


def test_other_structures_of_sd_are_named_by_their_names_alone(tmp_path: Path) -> None:
    odd = {"lora_unet_down_blocks_0_attentions_0_proj_in": ("", (16, 16))}
    assert structure_of(read(write_kohya(tmp_path / "x.safetensors", odd)), to="peft") is None


def test_layers_that_fit_both_are_asked_for_their_base(tmp_path: Path) -> None:
    """A residual block in the middle is as wide in SD 1.x as in SDXL, and named otherwise."""
    name = "unet.mid_block.resnets.0.time_emb_proj"
    save_file(
        {
            f"{name}.lora_A.weight": torch.ones(2, 1280),
            f"{name}.lora_B.weight": torch.ones(1280, 2),
        },
        tmp_path / "x.safetensors",
    )
    file = read(tmp_path / "x.safetensors")
    with pytest.raises(SettingsError, match=r"which name layers differently .* --base"):
        structure_of(file, to="kohya")
    assert structure_of(file, to="peft") is not None
