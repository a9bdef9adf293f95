"""Single files as other programs write them: read exactly, or named as what they are."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench.models.base import BaseSettings
from workbench.models.loading import load, locate
from workbench.models.single_file import published_name, published_names
from workbench.store import FileRefused

Tensors = dict[str, Tensor]
UNET = "model.diffusion_model."
CLIP = "cond_stage_model.transformer.text_model."


def renamed(pattern: str, new: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {re.sub(pattern, new, name): t for name, t in tensors.items()}


def with_averages(tensors: Tensors) -> Tensors:
    """The averages that a training file carries, which nobody may read for the weights."""
    averages = {
        f"model_ema.{name.removeprefix('model.').replace('.', '')}": torch.ones_like(tensor)
        for name, tensor in tensors.items()
        if name.startswith(UNET)
    }
    return tensors | averages | {"model_ema.decay": torch.ones(())}


VARIANTS = {
    "NovelAI": renamed(f"^{re.escape(CLIP)}", CLIP.removesuffix("text_model.")),
    "state_dict": renamed(r"^", "state_dict."),
    "module": renamed(r"^", "module."),
    "model before all": renamed(r"^", "model."),
    "no model before the U-Net": renamed(r"^model\.diffusion_model\.", "diffusion_model."),
    "averages": with_averages,
    "schedule": lambda tensors: tensors | {"betas": torch.ones(1000)},
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_of_other_programs_give_the_same_weights(
    variant: str, tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(VARIANTS[variant](load_file(tiny_sd_file)), path)
    family = load(BaseSettings(path=str(path), config=str(tiny_sd)))
    expected = load(BaseSettings(path=str(tiny_sd)))
    for name, part in family.parts.items():
        weights = expected.parts[name].state_dict()
        assert all(torch.equal(weights[key], t) for key, t in part.state_dict().items()), name
    assert all(
        torch.equal(expected.vae.state_dict()[k], t) for k, t in family.vae.state_dict().items()
    )


def test_sdxl_with_a_bare_first_encoder(
    tiny_sdxl: Path, tiny_sdxl_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    prefix = "conditioner.embedders.0.transformer."
    bare = renamed(rf"^{re.escape(prefix)}text_model\.", prefix)
    save_file(bare(load_file(tiny_sdxl_file)), path)
    encoder = load(BaseSettings(path=str(path), config=str(tiny_sdxl))).text_encoders[0]
    expected = load(BaseSettings(path=str(tiny_sdxl))).text_encoders[0].state_dict()
    assert all(torch.equal(expected[key], t) for key, t in encoder.state_dict().items())


def test_published_names_stay_and_win_over_variants() -> None:
    literal = {
        "cond_stage_model.transformer.embeddings.token_embedding.weight": (
            "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
        ),
        "state_dict.first_stage_model.quant_conv.bias": "first_stage_model.quant_conv.bias",
        "model.conditioner.embedders.1.model.logit_scale": (
            "conditioner.embedders.1.model.logit_scale"
        ),
        "model.model.diffusion_model.out.2.bias": "model.diffusion_model.out.2.bias",
        "model.diffusion_model.out.2.bias": "model.diffusion_model.out.2.bias",
        "model.embed_tokens.weight": "model.embed_tokens.weight",
        "lora_unet_mid_block.alpha": "lora_unet_mid_block.alpha",
    }
    assert {name: published_name(name) for name in literal} == literal
    both = ["state_dict.model.diffusion_model.out.2.bias", "model.diffusion_model.out.2.bias"]
    for names in (both, both[::-1]):
        assert published_names(names) == {both[1]: both[1]}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_every_stored_precision_is_read_exactly(
    dtype: torch.dtype, tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path
) -> None:
    tensors = {
        n: t.to(dtype) if t.is_floating_point() else t for n, t in load_file(tiny_sd_file).items()
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    family = load(BaseSettings(path=str(path), config=str(tiny_sd)))
    mine = family.unet.state_dict()["conv_in.weight"]
    assert mine.dtype == torch.float32
    assert torch.equal(mine, tensors[f"{UNET}input_blocks.0.0.weight"].float())


def changed(
    source: Path, path: Path, change: Callable[[Tensors], Tensors], config: Path
) -> BaseSettings:
    save_file({n: t.contiguous() for n, t in change(load_file(source)).items()}, path)
    return BaseSettings(path=str(path), config=str(config))


def added(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: torch.zeros(1) for name in names}


def channels(count: int) -> Callable[[Tensors], Tensors]:
    name = f"{UNET}input_blocks.0.0.weight"
    return lambda t: t | {name: torch.zeros(len(t[name]), count, 3, 3)}


def without(*starts: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {n: t for n, t in tensors.items() if not n.startswith(starts)}


def other_text(width: int) -> Callable[[Tensors], Tensors]:
    name = f"{CLIP}embeddings.token_embedding.weight"
    return lambda t: t | {name: torch.zeros(len(t[name]), width)}


def packed(tensors: Tensors) -> Tensors:
    name = f"{UNET}input_blocks.1.1.proj_in.weight"
    return tensors | {name: tensors[name].to(torch.int8)}


STRANGERS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "scaled fp8": (added("scaled_fp8"), "this is a scaled fp8 file .it holds scaled_fp8."),
    "scaled fp8 of a part": (added(f"{UNET}out.2.scale_weight"), "this is a scaled fp8 file"),
    "ComfyUI's quants": (added(f"{UNET}out.2.comfy_quant"), "a file quantised by ComfyUI"),
    "nf4": (added(f"{UNET}out.2.weight.absmax"), "a bitsandbytes file"),
    "int8": (packed, r"quantised file .*proj_in\.weight is I8"),
    "depth": (channels(5), "this is a depth model"),
    "x4 upscaler": (channels(7), "this is the x4 upscaler"),
    "InstructPix2Pix": (channels(8), "edits by instruction, as InstructPix2Pix"),
    "unCLIP": (added("noise_augmentor.time_embed.time_embed.0.weight"), "this is SD 2.1 unCLIP"),
    "Zero123": (added("cc_projection.weight"), "this is Zero123"),
    "video": (added(f"{UNET}input_blocks.1.0.time_stack.out_layers.0.bias"), "a video model"),
    "AnimateDiff": (added("motion_modules.0.weight"), "this is an AnimateDiff merge"),
    "another encoder": (other_text(48), "U-Net reads text of width 32, its text encoder gives 48"),
    "no text encoder": (without("cond_stage_model."), "autoencoder without text encoder"),
    "no U-Net": (without(UNET), "unet missing"),
    "no autoencoder": (without("first_stage_model."), "vae missing; .* base.vae can name another"),
}  # fmt: skip


@pytest.mark.parametrize("what", STRANGERS)
def test_what_only_looks_like_stable_diffusion_is_named(
    what: str, tiny_sd: Path, tiny_sd_file: Path, tmp_path: Path
) -> None:
    change, said = STRANGERS[what]
    settings = changed(tiny_sd_file, tmp_path / "model.safetensors", change, tiny_sd)
    with pytest.raises(FileRefused, match=said) as caught:
        locate(settings)
    assert str(caught.value).startswith(settings.path) and len(str(caught.value)) < 500


def test_cosxl_edit_is_told_from_cosxl(
    tiny_sdxl: Path, tiny_sdxl_file: Path, tmp_path: Path
) -> None:
    for count, said in ((4, "this is CosXL .it"), (8, "this is CosXL Edit .it")):
        both = added("edm_vpred.sigma_max", "edm_vpred.sigma_min")
        change = lambda t, count=count, both=both: both(channels(count)(t))  # noqa: E731
        settings = changed(tiny_sdxl_file, tmp_path / "cos.safetensors", change, tiny_sdxl)
        with pytest.raises(FileRefused, match=said):
            locate(settings)


def published_unet(depths: tuple[int, ...]) -> Tensors:
    """Names of an SDXL-like file with so many transformer blocks in the blocks on the way down."""
    table = torch.zeros(1, 1280)
    names = {"conditioner.embedders.1.model.token_embedding.weight": table}
    names |= {"conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight":
              torch.zeros(1, 768), "first_stage_model.quant_conv.bias": torch.zeros(1)}  # fmt: skip
    names[f"{UNET}input_blocks.0.0.weight"] = torch.zeros(320, 4, 3, 3)
    for block, depth in zip((4, 5, 7, 8), depths, strict=True):
        for k in range(depth):
            key = f"{UNET}input_blocks.{block}.1.transformer_blocks.{k}.attn2.to_k.weight"
            names[key] = torch.zeros(1, 2048)
    return names


@pytest.mark.parametrize(
    ("depths", "name"), [((2, 2, 4, 4), "SSD-1B"), ((1, 1, 2, 2), "Segmind Vega")]
)
def test_small_relatives_of_sdxl_are_named(
    depths: tuple[int, ...], name: str, tmp_path: Path
) -> None:
    """Block counts: ComfyUI, `supported_models.py`."""
    path = tmp_path / "model.safetensors"
    save_file(published_unet(depths), path)
    with pytest.raises(FileRefused, match=f"this is {name}: .*do not fit .*base.config can name"):
        locate(BaseSettings(path=str(path)))


def test_the_published_structures_pass_on_their_own_headers() -> None:
    """Blocks of SD 1.5, 2.1 and SDXL as published, against the configs that ship."""
    from workbench.models.source import CONFIGS
    from workbench.models.unet_structure import _attentions

    found = {v: dict(_attentions(json.loads((CONFIGS / v / "unet/config.json").read_text())))
             for v in ("sd1", "sd2", "sdxl")}  # fmt: skip
    once = dict.fromkeys(
        [*(f"input_blocks.{n}.1" for n in (1, 2, 4, 5, 7, 8)), "middle_block.1",
         *(f"output_blocks.{n}.1" for n in range(3, 12))], 1
    )  # fmt: skip
    assert found["sd1"] == found["sd2"] == once
    assert found["sdxl"] == {
        **dict.fromkeys(("input_blocks.4.1", "input_blocks.5.1"), 2),
        **dict.fromkeys(("input_blocks.7.1", "input_blocks.8.1", "middle_block.1"), 10),
        **dict.fromkeys((f"output_blocks.{n}.1" for n in range(3)), 10),
        **dict.fromkeys((f"output_blocks.{n}.1" for n in range(3, 6)), 2),
    }


CONFIGS_OF_OTHERS = {
    "Kolors": {"encoder_hid_dim_type": "text_proj"},
    "DeepFloyd IF": {"addition_embed_type": "text"},
    "Kandinsky 2.2": {"addition_embed_type": "image"},
    "SD 2.1 unCLIP": {"class_embed_type": "projection"},
    "a noise level": {"num_class_embeds": 1000, "in_channels": 7},
    "unet is quantised": {"quantization_config": {"quant_method": "bitsandbytes"}},
    "a mixture of two models": {"cross_attention_dim": 1024},
}


@pytest.mark.parametrize("what", CONFIGS_OF_OTHERS)
def test_folders_that_only_look_like_stable_diffusion_are_named(
    what: str, tiny_sd: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "base")
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | CONFIGS_OF_OTHERS[what]))
    with pytest.raises(FileRefused, match=what):
        locate(BaseSettings(path=str(folder)))


def test_another_text_encoder_than_clip_is_named(tiny_sd: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_sd, tmp_path / "base")
    path = folder / "text_encoder" / "config.json"
    config = json.loads(path.read_text()) | {"architectures": ["ChatGLMModel"], "model_type": ""}
    path.write_text(json.dumps(config))
    with pytest.raises(FileRefused, match=r"must be a CLIP text model, .* names ChatGLMModel"):
        locate(BaseSettings(path=str(folder)))
