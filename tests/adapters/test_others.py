"""Our files in the hands of others: diffusers' pipeline and LyCORIS give what we give."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_models import ALL_GROUPS, answer, learn, name_of, parts
from torch import Tensor

from workbench.adapters import LoRA, attach_file, convert, write
from workbench.models.family import BaseSettings, Family, load


def trained(base: Path, *, text_encoder: bool = True):
    """A family with a trained adapter whose alpha is not its rank."""
    family = load(BaseSettings(path=str(base)))
    settings = LoRA(
        rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=text_encoder, text_encoder_rank=2
    )
    adapter = settings.attach(
        family.parts, family.adapter_targets, generator=torch.Generator().manual_seed(0)
    )
    learn(adapter.trainables, 0.05)
    return family, adapter


def picture(pipeline, **options) -> Tensor:
    """Two steps of sampling from one seed."""
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline(
        "a cat",
        num_inference_steps=2,
        height=64,
        width=64,
        output_type="pt",
        generator=torch.Generator().manual_seed(0),
        **options,
    )
    return result.images


def save(family: Family, adapter, path: Path) -> Path:
    return write(path, adapter, name_of=family.kohya_name, dtype=torch.float32, metadata={})


@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_diffusers_gives_the_same_picture(tiny_sd: Path, tmp_path: Path, form: str) -> None:
    from diffusers import StableDiffusionPipeline

    family, adapter = trained(tiny_sd)
    path = save(family, adapter, tmp_path / "kohya.safetensors")
    if form == "peft":
        path = convert(path, tmp_path / "peft.safetensors", to="peft")
    ours = picture(family.pipeline())
    with adapter.strength(0):
        base = picture(family.pipeline())
    theirs = StableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, dtype=torch.float32
    )
    theirs.scheduler = family.pipeline().scheduler
    theirs.load_lora_weights(tmp_path, weight_name=path.name)
    assert (ours - base).abs().max() > 1e-2
    assert (picture(theirs) - ours).abs().max() < 1e-4


def test_diffusers_reads_sdxl_files(tiny_sdxl: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline

    family, adapter = trained(tiny_sdxl)
    path = save(family, adapter, tmp_path / "sdxl.safetensors")
    fresh = load(BaseSettings(path=str(tiny_sdxl)))
    again = attach_file(path, fresh.parts, name_of=fresh.kohya_name)
    state = adapter.state()
    assert all(torch.equal(value, state[name]) for name, value in again.state().items())

    theirs = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, dtype=torch.float32)
    converted = convert(
        path,
        tmp_path / "peft.safetensors",
        to="peft",
        parts=load(BaseSettings(path=str(tiny_sdxl))).parts,
        name_of=family.kohya_name,
    )
    theirs.load_lora_weights(tmp_path, weight_name=converted.name)
    draw = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=draw)
    hidden = torch.randn(1, 7, theirs.unet.config.cross_attention_dim, generator=draw)
    width = theirs.unet.add_embedding.linear_1.in_features
    width -= 6 * theirs.unet.config.addition_time_embed_dim
    added = {"text_embeds": torch.randn(1, width, generator=draw), "time_ids": torch.ones(1, 6)}
    inputs = (latents, torch.tensor([500]), hidden)
    with torch.no_grad():
        a, b = (u(*inputs, added_cond_kwargs=added).sample for u in (theirs.unet, family.unet))
    assert (a - b).abs().max() < 1e-4


def test_lycoris_computes_the_same(tmp_path: Path) -> None:
    pytest.importorskip("lycoris", reason="lycoris-lora is not installed")
    from lycoris import create_lycoris_from_weights
    from small_models import TARGETS

    models, other = parts(), parts()
    settings = LoRA(rank=4, alpha=2.5, groups=("attention", "feedforward", "conv", "projection"))
    adapter = settings.attach(models, TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, 0.05)
    path = tmp_path / "x.safetensors"
    write(path, adapter, name_of=name_of, dtype=torch.float32, metadata={})
    base, expected = answer(other), answer(models)
    # Its default prefix is not kohya's.
    weights = {k.replace("lora_unet_", "lycoris_"): v for k, v in load_file(path).items()}
    network, _ = create_lycoris_from_weights(1.0, None, other["unet"], weights_sd=weights)
    network.load_state_dict(weights, strict=False)
    network.apply_to()
    assert len(network.loras) == len(adapter.layers())
    assert (expected - base).abs().max() > 1e-2
    assert torch.allclose(answer(other), expected, atol=1e-4)
