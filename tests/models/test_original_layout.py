"""One file in Stability's layout: the published names, every bit, and other programs' readers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from original_names import original_text, original_unet, original_vae
from tiny_models import to_single_file
from torch import nn

from workbench import store
from workbench.models.base import BaseSettings
from workbench.models.loading import load, locate
from workbench.models.original_layout import SingleFile
from workbench.models.source import CONFIGS
from workbench.models.structures import structure

VERSIONS = ("sd1", "sd2", "sdxl")
# Tensors of published files: v1-5-pruned-emaonly, v2-1_768-ema-pruned without its last, unread
# layer, sd_xl_base_1.0 without logit_scale, which belongs to CLIP's training.
COUNTS = {"sd1": 1131, "sd2": 686 + 248 + 280, "sdxl": 2515 - 1}
TINY = {"sd1": "tiny_sd", "sd2": "tiny_sd2", "sdxl": "tiny_sdxl"}


def published(version: str, *, in_channels: int = 4) -> SingleFile:
    """The true structure, on the device "meta"."""
    modules: dict[str, nn.Module] = dict(structure(version).parts)
    with torch.device("meta"):
        modules["vae"] = AutoencoderKL.from_config(
            AutoencoderKL.load_config(CONFIGS / version / "vae")
        )
        if in_channels != 4:
            config = UNet2DConditionModel.load_config(CONFIGS / version / "unet")
            modules["unet"] = UNet2DConditionModel.from_config(
                {**config, "in_channels": in_channels}
            )
    return SingleFile(
        version, modules, architecture="x", prediction="epsilon", zero_terminal_snr=False
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_names_are_those_of_the_published_files(version: str) -> None:
    found = published(version).tensors().keys()
    assert found == original_unet(version) | original_vae() | original_text(version)
    assert len(found) == COUNTS[version]


def test_shapes_are_those_of_the_published_files() -> None:
    shapes = {v: {n: t.shape for n, t in published(v).tensors().items()} for v in VERSIONS}
    unet = "model.diffusion_model."
    proj = f"{unet}input_blocks.4.1.proj_in.weight"
    assert shapes["sd1"][proj] == (640, 640, 1, 1)
    assert shapes["sd2"][proj] == shapes["sdxl"][proj] == (640, 640)
    for version in VERSIONS:
        attention = "first_stage_model.decoder.mid.attn_1"
        assert shapes[version][f"{attention}.q.weight"] == (512, 512, 1, 1)
        assert shapes[version][f"{attention}.q.bias"] == (512,)
        assert shapes[version][f"{unet}input_blocks.0.0.weight"] == (320, 4, 3, 3)
    fused = "transformer.resblocks.0.attn.in_proj_weight"
    assert shapes["sd2"][f"cond_stage_model.model.{fused}"] == (3072, 1024)
    assert shapes["sdxl"][f"conditioner.embedders.1.model.{fused}"] == (3840, 1280)
    assert shapes["sdxl"]["conditioner.embedders.1.model.text_projection"] == (1280, 1280)
    assert shapes["sdxl"]["model.diffusion_model.label_emb.0.0.weight"] == (1280, 2816)


def test_inpainting_has_nine_channels_and_the_same_names() -> None:
    wide = published("sd1", in_channels=9).tensors()
    assert wide.keys() == published("sd1").tensors().keys()
    assert wide["model.diffusion_model.input_blocks.0.0.weight"].shape == (320, 9, 3, 3)


@pytest.fixture(params=VERSIONS)
def tiny(request: pytest.FixtureRequest) -> tuple[str, Path, Any]:
    folder = request.getfixturevalue(TINY[request.param])
    return request.param, folder, load(BaseSettings(path=str(folder)))


def weights(family: Any) -> dict[str, torch.Tensor]:
    modules = {**family.parts, "vae": family.vae}
    return {f"{part}.{n}": t for part, m in modules.items() for n, t in m.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(t, other[n]) for n, t in one.items())


def test_every_bit_comes_back(tiny: tuple[str, Path, Any], tmp_path: Path) -> None:
    version, folder, family = tiny
    single, path = family.single_file, tmp_path / "one.safetensors"
    store.stream_tensors(path, single.tensors(), single.metadata)
    marks = {"v_pred"} if version == "sd2" else set()
    written = store.load_tensors(path)
    expected = store.load_tensors(to_single_file(folder, tmp_path / "other.safetensors"))
    assert same({n: t for n, t in written.items() if n not in marks}, expected)
    assert same(single.read(path, (*family.parts, "vae")), weights(family))
    ours = load(BaseSettings(path=str(path), config=str(folder)))
    assert same(weights(ours), weights(family))
    assert ours.process.prediction == family.process.prediction


def test_diffusers_reads_it(tiny: tuple[str, Path, Any], tmp_path: Path) -> None:
    version, folder, family = tiny
    path = store.stream_tensors(tmp_path / "one.safetensors", family.single_file.tensors())
    kind = StableDiffusionXLPipeline if version == "sdxl" else StableDiffusionPipeline
    options = {"safety_checker": None} if version != "sdxl" else {}
    theirs = kind.from_single_file(str(path), config=str(folder), local_files_only=True, **options)
    for part, module in {**family.parts, "vae": family.vae}.items():
        assert same(getattr(theirs, part).state_dict(), module.state_dict()), part


def test_fractions_take_the_type_that_is_asked_for(tiny_sd: Path) -> None:
    tensors = load(BaseSettings(path=str(tiny_sd))).single_file.tensors(torch.float16)
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    (ids,) = [name for name, kind in kinds.items() if kind != torch.float16]
    assert ids.endswith("position_ids") and kinds[ids] == torch.int64


@pytest.mark.parametrize("zero", [False, True])
def test_velocity_and_zero_terminal_snr_are_marked(
    tiny_sdxl: Path, tmp_path: Path, zero: bool
) -> None:
    """As ComfyUI marks them: empty tensors named v_pred and ztsnr; and in modelspec's words."""
    chosen = BaseSettings(path=str(tiny_sdxl), prediction="v_prediction", zero_terminal_snr=zero)
    single = load(chosen).single_file
    assert single.metadata["modelspec.prediction_type"] == "v"
    assert single.metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    path = store.stream_tensors(tmp_path / "v.safetensors", single.tensors(), single.metadata)
    shapes = store.read_header(path)[1]
    assert {n: shapes[n][1] for n in ("v_pred", "ztsnr") if n in shapes} == (
        {"v_pred": (0,), "ztsnr": (0,)} if zero else {"v_pred": (0,)}
    )
    source = locate(BaseSettings(path=str(path), config=str(tiny_sdxl)))
    assert source.scheduler["prediction_type"] == "v_prediction"
    again = load(BaseSettings(path=str(path), config=str(tiny_sdxl)))
    assert again.process.ends_in_noise is zero


def test_what_only_a_file_has_is_kept_and_moving_averages_are_not(
    tiny_sd2: Path, tmp_path: Path
) -> None:
    """Files of SD 2.x hold a last layer that nothing reads, and numbers of its training."""
    base = to_single_file(tiny_sd2, tmp_path / "base.safetensors")
    prefix = "cond_stage_model.model."
    unread = {
        f"{prefix}transformer.resblocks.3.ln_1.weight": torch.randn(32),
        f"{prefix}text_projection": torch.randn(32, 32),
        f"{prefix}logit_scale": torch.tensor(4.6),
    }
    other = {"model_ema.decay": torch.tensor(0.9), "betas": torch.ones(1000)}
    store.save_tensors(base, store.load_tensors(base) | unread | other)
    chosen = BaseSettings(path=str(base), config=str(tiny_sd2), prediction="v_prediction")
    single = load(chosen).single_file
    base.unlink()  # a run may outlive its base
    found = store.load_tensors(store.stream_tensors(tmp_path / "x.safetensors", single.tensors()))
    assert all(torch.equal(found[name], tensor) for name, tensor in unread.items())
    assert not other.keys() & found.keys()


def test_a_file_of_another_base_is_refused(tiny_sd: Path, tiny_sdxl: Path, tmp_path: Path) -> None:
    one, other = (load(BaseSettings(path=str(p))).single_file for p in (tiny_sd, tiny_sdxl))
    path = store.stream_tensors(tmp_path / "sd.safetensors", one.tensors())
    with pytest.raises(store.FileRefused, match=r"are missing, the first is model\.diff"):
        other.read(path, ("unet",))
