"""Finding and recognising base models: the shipped structures, and everything that is refused."""

import json
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.models.base import BaseSettings
from workbench.models.hub import wanted_files
from workbench.models.loading import load, locate
from workbench.models.parts import legacy_hash
from workbench.models.source import CONFIGS, weight_files
from workbench.settings import SettingsError
from workbench.store import FileRefused

# Parameters of the published models, from their papers' code and model cards.
PARAMETERS = {
    ("sd1", "unet"): 859_520_964,
    ("sd1", "vae"): 83_653_863,
    ("sd1", "text_encoder"): 123_060_480,
    ("sd2", "unet"): 865_910_724,
    ("sd2", "vae"): 83_653_863,
    ("sd2", "text_encoder"): 340_387_840,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "vae"): 83_653_863,
    ("sdxl", "text_encoder"): 123_060_480,
    ("sdxl", "text_encoder_2"): 694_659_840,
}


@pytest.mark.parametrize(("version", "part"), PARAMETERS)
def test_shipped_structures_have_the_published_number_of_weights(version: str, part: str) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    folder = str(CONFIGS / version / part)
    with torch.device("meta"):
        if part in ("unet", "vae"):
            kind = UNet2DConditionModel if part == "unet" else AutoencoderKL
            module = kind.from_config(kind.load_config(folder))
        else:
            second = part == "text_encoder_2"
            kind = CLIPTextModelWithProjection if second else CLIPTextModel
            module = kind(CLIPTextConfig.from_pretrained(folder))
    assert sum(weight.numel() for weight in module.parameters()) == PARAMETERS[version, part]


@pytest.mark.parametrize(
    ("name", "version", "family"),
    [("tiny_sd", "sd1", "sd"), ("tiny_sd2", "sd2", "sd"), ("tiny_sdxl", "sdxl", "sdxl")],
)
def test_family_and_version_are_read_from_the_files(
    request: pytest.FixtureRequest, name: str, version: str, family: str
) -> None:
    folder = str(request.getfixturevalue(name))
    for fixture in (name, f"{name}_file"):
        path = str(request.getfixturevalue(fixture))
        source = locate(BaseSettings(path=path, config=None if path == folder else folder))
        assert (source.version, source.family) == (version, family)
        assert source.is_file == fixture.endswith("file")


def test_critters_ships_with_the_package() -> None:
    family = load(BaseSettings())
    assert family.name == "sd"
    assert family.identity["path"] == "critters"


def refused(path: Path, pattern: str, error: type[Exception] = FileRefused, **options) -> None:
    with pytest.raises(error, match=pattern) as caught:
        load(BaseSettings(path=str(path), **options))
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickles_are_refused_unopened(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x04cos\nsystem\n")
    refused(path, r"pickles, which run code when opened")


def test_a_folder_of_pickles_is_refused(tiny_sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "base")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    refused(folder, r"unet.diffusion_pytorch_model\.bin: \.bin files are pickles")


@pytest.mark.parametrize(
    ("part", "hint"), [("vae", "base.vae can name another"), ("text_encoder", "full Stable")]
)
def test_a_missing_part_is_named(tiny_sd: Path, tmp_path: Path, part: str, hint: str) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "base")
    shutil.rmtree(folder / part)
    refused(folder, rf"base: {part} missing; .*{hint}")


@pytest.mark.parametrize("part", ["tokenizer", "scheduler"])
def test_a_missing_folder_of_settings_is_named(tiny_sd: Path, tmp_path: Path, part: str) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "base")
    shutil.rmtree(folder / part)
    refused(folder, part)


def test_a_missing_part_of_a_file_is_named(
    tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny_sd_file)
    kept = {k: t for k, t in tensors.items() if not k.startswith("first_stage_model.")}
    path = tmp_path / "no-vae.safetensors"
    save_file(kept, path)
    refused(path, r"no-vae\.safetensors: vae missing; .*base\.vae", config=str(tiny_sd))
    family = load(BaseSettings(path=str(path), config=str(tiny_sd), vae=str(tiny_sd)))
    assert sorted(family.identity["hashes"]) == ["legacy", "sha256", "vae"]


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("model.diffusion_model.out.2.bias", r"some weights are missing.*base\.config"),
        ("text_model.final_layer_norm", r"lacks 2 weights, the first is final_layer_norm\.weight"),
    ],
)
def test_a_missing_weight_in_a_file_is_noticed(
    tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path, key: str, pattern: str
) -> None:
    tensors = {k: t for k, t in load_file(tiny_sd_file).items() if key not in k}
    path = tmp_path / "cut.safetensors"
    save_file(tensors, path)
    refused(path, pattern, config=str(tiny_sd))


def test_a_missing_weight_in_a_folder_is_named(tiny_sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "base")
    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    del tensors[next(k for k in tensors if "fc1.weight" in k)]
    save_file(tensors, path, metadata={"format": "pt"})
    refused(folder, r"text_encoder: 1 weights missing, the first is .*fc1\.weight")


def test_weights_of_another_structure_are_explained(tiny_sd_file: Path) -> None:
    refused(tiny_sd_file, r"do not fit the structure in .*sd1 .*base\.config can name")


def test_a_cut_file_is_refused(tiny_sd_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(tiny_sd_file.read_bytes()[:-100])
    refused(path, r"cut\.safetensors: not a sound safetensors file")


def test_a_file_with_bytes_behind_its_end_is_refused(tiny_sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "base")
    with (folder / "vae" / "diffusion_pytorch_model.safetensors").open("ab") as file:
        file.write(b"more")
    refused(folder, r"vae.diffusion_pytorch_model\.safetensors: not a sound safetensors file")


def test_a_huge_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", 200_000_000) + b"{}")
    refused(path, r"huge\.safetensors: not a sound")


@pytest.mark.parametrize(
    ("key", "pattern"),
    [
        ("model.diffusion_model.joint_blocks.0.x.weight", "this is Stable Diffusion 3"),
        ("double_blocks.0.img_attn.qkv.weight", "this is FLUX"),
        ("lora_unet_mid_block_attentions_0_proj_in.alpha", "this is a LoRA, not a base model"),
        ("conditioner.embedders.0.model.ln_final.bias", "this is the SDXL refiner"),
        (
            "encoder.conv_in.weight",
            r"none of its 1 tensors, .* encoder\.conv_in\.weight, tells what",
        ),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, key: str, pattern: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({key: torch.zeros(1)}, path)
    refused(path, pattern)


def test_the_wrong_family_is_refused_with_evidence(
    tiny_sd: Path, tiny_sdxl: Path, tiny_sdxl_file: Path
) -> None:
    refused(
        tiny_sd,
        r'base\.family is "sdxl" .* cross_attention_dim 32; set base\.family to "sd" or "auto"',
        SettingsError,
        family="sdxl",
    )
    options = {"family": "sd", "config": str(tiny_sdxl)}
    refused(tiny_sdxl_file, r"it holds conditioner\.embedders\.1", SettingsError, **options)


def test_folders_of_other_models_are_refused(tiny_sd: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused(tmp_path, r"unet/config\.json and .* are missing, and there is no model_index\.json")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    refused(tmp_path, r"model_index\.json names FluxPipeline")
    for channels, what in ((5, "a depth model"), (8, "a model that edits by instruction")):
        other = shutil.copytree(tiny_sd, tmp_path / f"channels-{channels}")
        path = other / "unet" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": channels}))
        refused(other, rf"this is {what}.*; the U-Net takes {channels} channels and gives 4")


def with_channels(tensors: dict[str, torch.Tensor], channels: int) -> dict[str, torch.Tensor]:
    """A single file whose U-Net takes so many channels."""
    name = "model.diffusion_model.input_blocks.0.0.weight"
    return tensors | {name: torch.zeros(len(tensors[name]), channels, 3, 3)}


@pytest.mark.parametrize("channels", [5, 8])
def test_a_file_for_depth_or_instructions_is_refused(
    tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path, channels: int
) -> None:
    path = tmp_path / "other.safetensors"
    save_file(with_channels(load_file(tiny_sd_file), channels), path)
    refused(path, rf"takes {channels} channels and gives 4; only text to", config=str(tiny_sd))


def test_an_inpainting_model_is_a_variant_of_its_family(
    tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "inpainting.safetensors"
    save_file(with_channels(load_file(tiny_sd_file), 9), path)
    source = locate(BaseSettings(path=str(path), config=str(tiny_sd)))
    assert (source.family, source.version) == ("sd", "sd1")


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none", r"base\.path '.*none' does not exist; give", SettingsError)
    refused(Path("owner/none.safetensors"), r"does not exist", SettingsError)


def test_a_repository_without_network_or_cache_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(Path("owner/model"), r"'owner/model' is no folder .* cannot be had", SettingsError)


def test_a_repository_is_taken_without_pickles_and_without_doubles() -> None:
    listed = [
        "README.md",
        "model_index.json",
        "v1-5-pruned.ckpt",
        "v1-5-pruned.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "text_encoder/flax_model.msgpack",
        "tokenizer/merges.txt",
        "safety_checker/model.safetensors",
    ]
    assert wanted_files(listed) == [
        "README.md",
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
    ]


def test_full_precision_is_preferred_and_shards_belong_together(tmp_path: Path) -> None:
    names = ["model.fp16.safetensors", "model-00001-of-00002.safetensors"]
    names += ["model-00002-of-00002.safetensors"]
    (tmp_path / "text_encoder").mkdir()
    for name in names:
        (tmp_path / "text_encoder" / name).touch()
    variant, files = weight_files(tmp_path, "text_encoder")
    assert (variant, [path.name for path in files]) == (None, names[1:])


def test_an_sd2_file_needs_the_prediction_type_unless_it_says(
    tiny_sd2: Path, tiny_sd2_file: Path, tmp_path: Path
) -> None:
    refused(tiny_sd2_file, r"set base\.prediction to", SettingsError, config=str(tiny_sd2))
    path = tmp_path / "says.safetensors"
    metadata = {"modelspec.prediction_type": "epsilon"}
    save_file(load_file(tiny_sd2_file), path, metadata=metadata)
    assert load(BaseSettings(path=str(path), config=str(tiny_sd2))).process.prediction == "epsilon"


def test_marker_tensors_turn_on_velocity_and_zero_terminal_snr(
    tiny_sdxl: Path, tiny_sdxl_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "velocity.safetensors"
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file(load_file(tiny_sdxl_file) | marks, path)
    family = load(BaseSettings(path=str(path), config=str(tiny_sdxl)))
    assert family.process.prediction == "v_prediction"
    assert family.process.alphas[-1].item() == pytest.approx(0, abs=1e-7)
    assert family.pipeline().scheduler.config.timestep_spacing == "trailing"


@pytest.mark.parametrize("layout", ["folder", "file", "diffusers file", "full model"])
def test_another_autoencoder_comes_from_any_layout(
    tiny_sd: Path, tiny_sdxl: Path, tiny_sdxl_file: Path, tmp_path: Path, layout: str
) -> None:
    prefix = "first_stage_model."
    tensors = load_file(tiny_sdxl_file)
    bare = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    save_file(bare, tmp_path / "vae.safetensors")
    path = {
        "folder": tiny_sdxl / "vae",
        "file": tmp_path / "vae.safetensors",
        "diffusers file": tiny_sdxl / "vae" / "diffusion_pytorch_model.safetensors",
        "full model": tiny_sdxl_file,
    }[layout]
    family = load(BaseSettings(path=str(tiny_sd), vae=str(path)))
    expected = load_file(tiny_sdxl / "vae" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(t, expected[k]) for k, t in family.vae.state_dict().items())


def test_an_autoencoder_that_is_not_there_is_named(tiny_sd: Path, tmp_path: Path) -> None:
    refused(tiny_sd, re.escape(f"base.vae {str(tmp_path)!r}"), SettingsError, vae=str(tmp_path))
    refused(tiny_sd, r"base\.vae '/none' must be a folder", SettingsError, vae="/none")


def test_legacy_hash_of_a_short_file_is_that_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x" * 1000)
    assert legacy_hash(tmp_path / "short") == "e3b0c442"
