"""Our files in the hands of others: diffusers' pipeline and LyCORIS give what we give."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import ALL_GROUPS, answer, learn, name_of, parts
from torch import Tensor

from workbench.adapters import LoHa, LoKr, LoRA, attach_file, convert, write
from workbench.models.base import BaseSettings
from workbench.models.family import Family
from workbench.models.loading import load
from workbench.store import FileRefused, read_header


def trained(base: Path, *, text_encoder: bool = True):
    """A family with a trained adapter whose alpha is not its rank."""
    family = load(BaseSettings(path=str(base)))
    settings = LoRA(
        rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=text_encoder, text_encoder_rank=2
    )
    adapter = settings.attach(
        family.parts, family.targets, generator=torch.Generator().manual_seed(0)
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
    return write(path, adapter, name_of=family.file_name, dtype=torch.float32, metadata={})


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
    again = attach_file(path, fresh.parts, name_of=fresh.file_name)
    state = adapter.state()
    assert all(torch.equal(value, state[name]) for name, value in again.state().items())

    theirs = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl, dtype=torch.float32)
    converted = convert(
        path,
        tmp_path / "peft.safetensors",
        to="peft",
        parts=load(BaseSettings(path=str(tiny_sdxl))).parts,
        name_of=family.file_name,
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


GROUPS = ("attention", "feedforward", "conv", "projection", "time")
METHODS = {
    "dora": LoRA(rank=4, alpha=2.5, groups=GROUPS, dora=True, dropout=0.4),
    "loha": LoHa(rank=3, alpha=2.0, groups=GROUPS, rank_dropout=0.4),
    "lokr": LoKr(rank=2, alpha=1.5, factor=4, groups=GROUPS, module_dropout=0.4),
    "lokr-full": LoKr(rank=64, alpha=16, groups=GROUPS),
    "lokr-near-root": LoKr(rank=1, alpha=3, factor=-1, groups=GROUPS),
    "pissa": LoRA(rank=4, alpha=6, groups=("attention", "conv"), init="pissa"),
}


@pytest.mark.parametrize("name", METHODS)
def test_lycoris_reads_every_method(name: str, tmp_path: Path) -> None:
    """Our file, trained a step with dropout on, under its classes: the same answers."""
    pytest.importorskip("lycoris", reason="lycoris-lora is not installed")
    from lycoris import create_lycoris_from_weights
    from small_models import TARGETS

    models, other = parts(), parts()
    adapter = METHODS[name].attach(models, TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, 0.05)
    models["unet"].train()
    torch.manual_seed(0)
    answer(models).square().mean().backward()
    torch.optim.SGD(adapter.trainables.values(), lr=0.05).step()
    models["unet"].eval()
    path = tmp_path / "x.safetensors"
    write(path, adapter, name_of=name_of, dtype=torch.float32, metadata={})
    base, expected = answer(other), answer(models)
    weights = {k.replace("lora_unet_", "lycoris_"): v for k, v in load_file(path).items()}
    network, _ = create_lycoris_from_weights(1.0, None, other["unet"], weights_sd=weights)
    network.apply_to()
    network.eval()
    assert len(network.loras) == len(adapter.layers())
    assert (expected - base).abs().max() > 1e-2
    assert torch.allclose(answer(other), expected, atol=2e-4)


@pytest.mark.parametrize(
    ("algo", "options"),
    [
        ("locon", {}),
        ("locon", {"use_tucker": True}),
        ("locon", {"weight_decompose": True}),
        ("locon", {"weight_decompose": True, "wd_on_out": False}),
        ("loha", {}),
        ("loha", {"use_tucker": True}),
        ("loha", {"weight_decompose": True}),
        ("lokr", {"factor": 4}),
        ("lokr", {"factor": 4, "full_matrix": True}),
        ("lokr", {"factor": 8, "decompose_both": True, "use_tucker": True}),
        ("lokr", {"factor": -1, "unbalanced_factorization": True, "weight_decompose": True}),
    ],
    ids=str,
)
def test_we_read_what_lycoris_writes(
    algo: str, options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alpha unlike rank, dropout, convolutions; merged, and beside the model."""
    pytest.importorskip("lycoris", reason="lycoris-lora is not installed")
    from lycoris import LycorisNetwork

    from workbench.adapters.merge import merge

    monkeypatch.setattr(LycorisNetwork, "LORA_PREFIX", "lora_unet")
    theirs, merged, attached = parts(), parts(), parts()
    torch.manual_seed(0)
    network = LycorisNetwork(
        theirs["unet"],
        lora_dim=2,
        conv_lora_dim=1,
        alpha=3.0,
        conv_alpha=2.5,
        network_module=algo,
        dropout=0.3 if algo == "locon" else 0,
        rank_dropout=0.3 if algo != "locon" else 0,
        module_dropout=0.3,
        **options,
    )
    base = answer(theirs)
    network.apply_to()
    for p in network.parameters():
        p.data += 0.05 * torch.randn_like(p)
    path = tmp_path / "lycoris.safetensors"
    save_file({k: v.detach().contiguous() for k, v in network.state_dict().items()}, path)
    network.eval()
    expected = answer(theirs)
    assert (expected - base).abs().max() > 1e-2
    report = merge(merged, path, name_of=name_of)
    assert len(report.rounding) == len(network.loras)
    assert torch.allclose(answer(merged), expected, atol=5e-4)
    if options.get("weight_decompose") and (algo != "locon" or "wd_on_out" in options):
        with pytest.raises(FileRefused, match="can be merged but not put beside"):
            attach_file(path, attached, name_of=name_of)
        return
    attach_file(path, attached, name_of=name_of)
    assert torch.allclose(answer(attached), expected, atol=5e-4)


def test_diffusers_reads_a_dora_in_pefts_form(tiny_sd: Path, tmp_path: Path) -> None:
    """Not in kohya's: there it drops dora_scale and shows a wrong plain LoRA."""
    from diffusers import StableDiffusionPipeline

    family = load(BaseSettings(path=str(tiny_sd)))
    settings = LoRA(rank=4, alpha=2.5, groups=("attention", "conv"), dora=True)
    adapter = settings.attach(
        family.parts, family.targets, generator=torch.Generator().manual_seed(0)
    )
    learn(adapter.trainables, 0.05)
    path = save(family, adapter, tmp_path / "kohya.safetensors")
    peft = convert(path, tmp_path / "peft.safetensors", to="peft")
    ours = picture(family.pipeline())
    found = {}
    for file in (path, peft):
        theirs = StableDiffusionPipeline.from_pretrained(
            tiny_sd, safety_checker=None, dtype=torch.float32
        )
        theirs.scheduler = family.pipeline().scheduler
        theirs.load_lora_weights(tmp_path, weight_name=file.name)
        found[file.stem] = float((picture(theirs) - ours).abs().max())
    assert found["peft"] < 1e-4
    assert found["kohya"] > 1e-3


def test_diffusers_reads_a_lokr_in_pefts_form(tiny_sd: Path, tmp_path: Path) -> None:
    """By the U-Net's own method; the pipeline's refuses whatever has no "lora" in its names."""
    from diffusers import UNet2DConditionModel

    family = load(BaseSettings(path=str(tiny_sd)))
    adapter = LoKr(rank=2, alpha=1.5, factor=4, groups=("attention", "conv")).attach(
        family.parts, family.targets, generator=torch.Generator().manual_seed(0)
    )
    learn(adapter.trainables, 0.05)
    path = save(family, adapter, tmp_path / "kohya.safetensors")
    peft = convert(path, tmp_path / "peft.safetensors", to="peft")
    unet = UNet2DConditionModel.from_pretrained(tiny_sd, subfolder="unet").eval()
    packed = json.loads(read_header(peft)[0]["lora_adapter_metadata"])
    unet.load_lora_adapter(load_file(peft), prefix="unet", metadata=packed)
    draw = torch.Generator().manual_seed(0)
    latents, hidden = torch.randn(1, 4, 8, 8, generator=draw), torch.randn(1, 7, 32, generator=draw)
    inputs = (latents, torch.tensor([500]), hidden)
    with torch.no_grad():
        a, b = (u.eval()(*inputs).sample for u in (unet, family.unet))
    assert torch.allclose(a, b, atol=1e-4)
