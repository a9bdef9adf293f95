"""The contract of every family, on tiny models of the true classes, from folder and single file."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from workbench.models.base import BaseSettings, FromScratch
from workbench.models.family import Condition, Family, SizeInfo
from workbench.models.loading import load
from workbench.models.sdxl import time_ids
from workbench.settings import SettingsError

CAPTIONS = ["a red cat", "dog"]
SIZES = (SizeInfo((640, 480), (3, 5), (64, 96)), SizeInfo((100, 200), (0, 7), (64, 64)))
MODELS = ["tiny_sd", "tiny_sd2", "tiny_sdxl"]


def settings_of(request: pytest.FixtureRequest, name: str, source: str, **options) -> BaseSettings:
    folder = request.getfixturevalue(name)
    if source == "folder":
        return BaseSettings(path=str(folder), **options)
    file = request.getfixturevalue(f"{name}_file")
    if name == "tiny_sd2":
        options["prediction"] = "v_prediction"
    return BaseSettings(path=str(file), config=str(folder), **options)


@pytest.fixture(
    scope="module", params=[(name, source) for name in MODELS for source in ("folder", "file")]
)
def family(request: pytest.FixtureRequest) -> Family:
    return load(settings_of(request, *request.param))


@pytest.fixture(scope="module", params=MODELS)
def folder_family(request: pytest.FixtureRequest) -> Family:
    return load(settings_of(request, request.param, "folder"))


def batch(family: Family) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 4, 12, 8, generator=generator), torch.tensor([10, 900])


def encoded(family: Family, captions: list[str]) -> dict[str, torch.Tensor]:
    return family.collate(family.encode_text(captions))


def test_it_is_frozen_in_eval_mode_and_says_what_it_is(family: Family) -> None:
    modules = [family.vae, *family.parts.values()]
    assert not any(p.requires_grad for m in modules for p in m.parameters())
    assert not any(m.training for m in modules)
    assert (family.codec.channels, family.codec.side_multiple_px) == (4, 8)
    assert family.name == ("sdxl" if len(family.text_encoders) == 2 else "sd")
    assert family.process.alphas.shape == (1000,)
    # scaled_linear from .00085 to .012, computed with numpy in float64
    assert family.process.alphas[[0, 999]].tolist() == pytest.approx([0.99915, 0.0046602], rel=1e-4)


def test_folder_and_file_hold_the_same_model(request: pytest.FixtureRequest) -> None:
    for name in MODELS:
        one, other = (load(settings_of(request, name, source)) for source in ("folder", "file"))
        for part, module in one.parts.items():
            weights = other.parts[part].state_dict()
            assert module.state_dict().keys() == weights.keys()
            assert all(torch.equal(t, weights[k]) for k, t in module.state_dict().items())
        assert (
            one.process.prediction
            == other.process.prediction
            == ("v_prediction" if name == "tiny_sd2" else "epsilon")
        )


@torch.no_grad()
def test_latents_are_the_scaled_posterior(family: Family) -> None:
    pixels = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = family.codec.encode(pixels)
    posterior = family.vae.encode(pixels).latent_dist
    assert mean.shape == std.shape == (2, 4, 8, 12)
    torch.testing.assert_close(mean, posterior.mean * 0.7)
    torch.testing.assert_close(std, posterior.std * 0.7)
    decoded = family.codec.decode(mean)
    expected = family.vae.decode(posterior.mean).sample
    torch.testing.assert_close(decoded, (expected / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_captions_are_encoded_as_the_pipeline_does(family: Family) -> None:
    text = encoded(family, CAPTIONS)
    expected = family.pipeline().encode_prompt(
        CAPTIONS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    assert torch.equal(text["hidden"], expected[0])
    if family.name == "sdxl":
        assert torch.equal(text["pooled"], expected[2])


@torch.no_grad()
def test_denoise_is_the_bare_call(family: Family) -> None:
    noisy, timesteps = batch(family)
    text = encoded(family, CAPTIONS)
    added = {}
    if family.name == "sdxl":
        ids = [[480.0, 640, 5, 3, 96, 64], [200.0, 100, 7, 0, 64, 64]]
        added = {"text_embeds": text["pooled"], "time_ids": torch.tensor(ids)}
    bare = family.unet(noisy, timesteps, text["hidden"], added_cond_kwargs=added).sample
    predicted = family.denoise(noisy, timesteps, Condition(text, SIZES))
    assert predicted.dtype == torch.float32
    assert torch.equal(predicted, bare)


def test_gradients_reach_unet_and_every_text_encoder(folder_family: Family) -> None:
    family = folder_family
    noisy, timesteps = batch(family)
    modules = family.parts
    try:
        for module in modules.values():
            module.requires_grad_(True)
        text = encoded(family, CAPTIONS)
        family.denoise(noisy, timesteps, Condition(text, SIZES)).square().mean().backward()
        for module in modules.values():
            weights = dict(module.named_parameters())
            name = next((n for n in weights if "layers.0.self_attn.q_proj.weight" in n), None)
            gradient = (weights[name] if name else module.conv_in.weight).grad
            assert gradient is not None and gradient.abs().sum() > 0
    finally:
        for module in modules.values():
            module.requires_grad_(False)
            module.zero_grad()


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"attention": "eager"}])
@pytest.mark.parametrize("name", MODELS)
def test_memory_and_attention_settings_leave_gradients_alone(
    request: pytest.FixtureRequest, name: str, options: dict
) -> None:
    def gradients(family: Family) -> list[torch.Tensor]:
        noisy, timesteps = batch(family)
        for module in family.parts.values():
            module.train().requires_grad_(True)
        text = encoded(family, CAPTIONS)
        family.denoise(noisy, timesteps, Condition(text, SIZES)).square().mean().backward()
        weights = [p for m in family.parts.values() for p in m.parameters()]
        return [p.grad for p in weights if p.grad is not None]

    plain = gradients(load(settings_of(request, name, "folder")))
    other = gradients(load(settings_of(request, name, "folder", **options)))
    assert len(plain) == len(other) > 50
    for one, two in zip(plain, other, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("skip", [1, 2])
def test_clip_skip_takes_an_earlier_layer(request: pytest.FixtureRequest, skip: int) -> None:
    """The oracle is an encoder that has lost its last layers."""
    for name in MODELS[:2]:
        full = load(settings_of(request, name, "folder", clip_skip=skip))
        short = load(settings_of(request, name, "folder"))
        del short.text_encoders[0].encoder.layers[-skip:]
        expected = encoded(short, CAPTIONS)["hidden"]
        torch.testing.assert_close(encoded(full, CAPTIONS)["hidden"], expected)
        assert full.text_key != short.text_key
    xl = load(settings_of(request, "tiny_sdxl", "folder", clip_skip=1))
    expected = xl.pipeline().encode_prompt(
        CAPTIONS, device="cpu", do_classifier_free_guidance=False, clip_skip=1
    )
    assert torch.equal(encoded(xl, CAPTIONS)["hidden"], expected[0])


def test_long_captions_are_cut_at_77_and_counted(folder_family: Family) -> None:
    word = "z" * 10 + " "  # letters are tokens of their own in the tiny vocabulary
    assert folder_family.count_tokens("abc") == 3
    assert folder_family.count_tokens(word * 20) == 200
    long = encoded(folder_family, [word * 20])
    assert long["hidden"].shape[1] == 77
    assert torch.equal(long["hidden"], encoded(folder_family, [word * 30])["hidden"])


@torch.no_grad()
def test_the_pipeline_shares_the_modules_and_draws(folder_family: Family) -> None:
    pipeline = folder_family.pipeline()
    assert pipeline.unet is folder_family.unet
    assert pipeline.scheduler is not folder_family.pipeline().scheduler
    assert pipeline.scheduler.config.prediction_type == folder_family.process.prediction
    latents = pipeline(
        "cat", num_inference_steps=2, height=64, width=64, output_type="latent"
    ).images
    assert folder_family.codec.decode(latents).shape == (1, 3, 64, 64)


def test_a_saved_model_loads_again(folder_family: Family, tmp_path: Path) -> None:
    folder_family.pipeline().save_pretrained(tmp_path)
    again = load(BaseSettings(path=str(tmp_path)))
    for part, module in folder_family.parts.items():
        weights = again.parts[part].state_dict()
        assert all(torch.equal(t, weights[k]) for k, t in module.state_dict().items())


def test_targets_name_modules_of_the_right_kind(folder_family: Family) -> None:
    for part, groups in folder_family.targets.items():
        assert list(groups) == ["attention", "feedforward", "projection", "conv", "time"]
        modules = dict(folder_family.parts[part].named_modules())
        for group, suffixes in groups.items():
            for suffix in suffixes:
                found = [m for n, m in modules.items() if n == suffix or n.endswith(f".{suffix}")]
                assert found, (part, group, suffix)
                assert all(isinstance(m, torch.nn.Linear | torch.nn.Conv2d) for m in found)


TEXT_LAYER = [
    "encoder_layers_0_self_attn_q_proj",
    "encoder_layers_0_self_attn_k_proj",
    "encoder_layers_0_self_attn_v_proj",
    "encoder_layers_0_self_attn_out_proj",
    "encoder_layers_0_mlp_fc1",
    "encoder_layers_0_mlp_fc2",
]
UNET_NAMES = {
    "sd": [
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0",
        "lora_unet_up_blocks_1_attentions_1_transformer_blocks_0_ff_net_0_proj",
    ],
    "sdxl": [
        "lora_unet_input_blocks_4_1_proj_in",
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_middle_block_1_transformer_blocks_1_attn2_to_out_0",
        "lora_unet_output_blocks_5_1_transformer_blocks_0_ff_net_0_proj",
    ],
}


def test_modules_have_kohya_names(folder_family: Family) -> None:
    family = folder_family
    names = {
        part: [
            family.file_name(part, path)
            for path, module in sorted(root.named_modules())
            if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
        ]
        for part, root in family.parts.items()
    }
    every = [name for part in names.values() for name in part]
    assert len(set(every)) == len(every)
    assert set(UNET_NAMES[family.name]) <= set(names["unet"])
    prefixes = {
        "sd": {"text_encoder": "lora_te"},
        "sdxl": {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
    }[family.name]
    for part, prefix in prefixes.items():
        found = [name for name in names[part] if "layers_0" in name]
        assert sorted(found) == sorted(f"{prefix}_text_model_{rest}" for rest in TEXT_LAYER)


def test_keys_depend_on_content_and_precision_not_on_the_path(
    request: pytest.FixtureRequest, tiny_sd: Path, tmp_path: Path
) -> None:
    one = load(BaseSettings(path=str(tiny_sd)))
    copied = load(BaseSettings(path=str(shutil.copytree(tiny_sd, tmp_path / "elsewhere"))))
    assert (one.codec.key, one.text_key) == (copied.codec.key, copied.text_key)
    assert one.identity["hashes"] == copied.identity["hashes"]
    assert sorted(one.identity["hashes"]) == ["text_encoder", "unet", "vae"]
    half = load(BaseSettings(path=str(tiny_sd), vae_dtype="bfloat16"))
    assert half.codec.key != one.codec.key
    assert half.text_key == one.text_key
    other = load(BaseSettings(path=str(tiny_sd), vae=str(request.getfixturevalue("tiny_sdxl"))))
    assert other.codec.key != one.codec.key
    assert other.identity["hashes"]["unet"] == one.identity["hashes"]["unet"]


def test_a_files_identity_has_both_hashes_that_uis_know(tiny_sd: Path, tiny_sd_file: Path) -> None:
    import hashlib

    data = tiny_sd_file.read_bytes()
    identity = load(BaseSettings(path=str(tiny_sd_file), config=str(tiny_sd))).identity
    assert identity["hashes"] == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "legacy": hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8],
    }
    assert (identity["version"], identity["architecture"]) == ("sd_v1", "stable-diffusion-v1")


def test_half_precision_files_are_loaded_as_asked(tiny_sdxl: Path, tmp_path: Path) -> None:
    half = load(BaseSettings(path=str(tiny_sdxl), dtype="float16"))
    assert half.unet.dtype == half.text_encoders[1].dtype == torch.float16
    assert half.vae.dtype == torch.float32
    half.pipeline().save_pretrained(tmp_path, variant="fp16")
    again = load(BaseSettings(path=str(tmp_path)))
    assert {p.dtype for m in again.parts.values() for p in m.parameters()} == {torch.float32}


@torch.no_grad()
def test_bfloat16_predicts_near_float32(tiny_sdxl: Path) -> None:
    results = []
    for dtype in ("float32", "bfloat16"):
        family = load(BaseSettings(path=str(tiny_sdxl), dtype=dtype, vae_dtype=dtype))
        noisy, timesteps = batch(family)
        text = encoded(family, CAPTIONS)
        results.append(family.denoise(noisy, timesteps, Condition(text, SIZES)))
        assert family.codec.encode(torch.zeros(1, 3, 64, 64))[0].dtype == torch.float32
    assert (results[0] - results[1]).abs().max() < 0.05


def test_time_ids_put_height_before_width() -> None:
    assert time_ids(SIZES[:1]).tolist() == [[480, 640, 5, 3, 96, 64]]


@pytest.mark.parametrize("weights", ["default", "small_normal"])
def test_from_scratch_forgets_the_unet_and_keeps_the_rest(tiny_sd: Path, weights: str) -> None:
    fresh = FromScratch(weights=weights, std=0.01, seed=1)
    torch.manual_seed(0)
    one = load(BaseSettings(path=str(tiny_sd), from_scratch=fresh))
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    two = load(BaseSettings(path=str(tiny_sd), from_scratch=fresh))
    assert torch.equal(state, torch.random.get_rng_state())
    base = load(BaseSettings(path=str(tiny_sd)))
    for key, weight in one.unet.state_dict().items():
        assert torch.equal(weight, two.unet.state_dict()[key])
    assert not torch.equal(one.unet.conv_in.weight, base.unet.conv_in.weight)
    assert one.codec.key == base.codec.key
    assert "unet" not in one.identity["hashes"]
    noisy, timesteps = batch(one)
    condition = Condition(encoded(one, CAPTIONS), SIZES)
    assert one.denoise(noisy, timesteps, condition).abs().max() == 0
    if weights == "small_normal":
        assert one.unet.mid_block.resnets[0].conv1.weight.std() == pytest.approx(0.01, rel=0.05)


def test_from_scratch_needs_no_unet_weights(tiny_sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "bare")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    load(BaseSettings(path=str(folder), from_scratch=FromScratch()))


def test_from_scratch_takes_another_structure(tiny_sd: Path, tmp_path: Path) -> None:
    structure = json.loads((tiny_sd / "unet" / "config.json").read_text())
    structure["layers_per_block"] += 1
    path = tmp_path / "deeper.json"
    path.write_text(json.dumps(structure))
    deeper = load(BaseSettings(path=str(tiny_sd), from_scratch=FromScratch(config=str(path))))
    usual = load(BaseSettings(path=str(tiny_sd), from_scratch=FromScratch()))
    assert sum(1 for _ in deeper.unet.parameters()) > sum(1 for _ in usual.unet.parameters())
    noisy, timesteps = batch(deeper)
    text = encoded(deeper, CAPTIONS)
    assert deeper.denoise(noisy, timesteps, Condition(text, SIZES)).shape == noisy.shape
    path.write_text(json.dumps(structure | {"cross_attention_dim": 7}))
    with pytest.raises(SettingsError, match=r"cross_attention_dim must be .* got 7"):
        load(BaseSettings(path=str(tiny_sd), from_scratch=FromScratch(config=str(path))))
