"""DoRA, LoHa and LoKr in files: literal names, shapes and types, and PEFT's form of each."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import TARGETS, answer, learn, name_of, parts

from workbench.adapters import LoHa, LoKr, LoRA, attach_file, convert, read, write
from workbench.adapters.networks import NetworkSettings
from workbench.store import FileRefused, read_header

GROUPS = ("attention", "conv", "projection")
DORA = LoRA(rank=4, alpha=2.5, groups=GROUPS, dora=True, text_encoder=True)
LOHA = LoHa(rank=3, alpha=2.0, groups=GROUPS, text_encoder=True)
LOKR = LoKr(rank=2, alpha=1.5, factor=4, groups=GROUPS, text_encoder=True)
FULL = LoKr(rank=64, alpha=16, factor=4, groups=GROUPS)
THIN = LoKr(rank=1, alpha=3, factor=4, decompose_both=True, groups=GROUPS)
ALL = {"dora": DORA, "loha": LOHA, "lokr": LOKR, "lokr-full": FULL, "lokr-thin": THIN}
LINEAR = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
CONV = "lora_unet_down_blocks_0_resnets_0_conv1"
POINT = "lora_unet_down_blocks_0_attentions_0_proj_in"
TEXT = "lora_te_text_model_encoder_layers_1_self_attn_out_proj"


def trained(settings: NetworkSettings, path: Path, dtype: torch.dtype = torch.float16):
    models = parts()
    adapter = settings.attach(models, TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, 0.05)
    write(path, adapter, name_of=name_of, dtype=dtype, metadata={})
    return models, adapter


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "dora",
            {
                f"{LINEAR}.lora_down.weight": ("F16", (4, 16)),
                f"{LINEAR}.dora_scale": ("F32", (16, 1)),
                f"{LINEAR}.alpha": ("F32", ()),
                f"{CONV}.lora_up.weight": ("F16", (16, 4, 1, 1)),
                f"{CONV}.dora_scale": ("F32", (16, 1, 1, 1)),
                f"{POINT}.dora_scale": ("F32", (16, 1, 1, 1)),
                f"{TEXT}.dora_scale": ("F32", (32, 1)),
            },
        ),
        (
            "loha",
            {
                f"{LINEAR}.hada_w1_a": ("F16", (16, 3)),
                f"{LINEAR}.hada_w1_b": ("F16", (3, 16)),
                f"{LINEAR}.hada_w2_a": ("F16", (16, 3)),
                f"{LINEAR}.hada_w2_b": ("F16", (3, 16)),
                f"{LINEAR}.alpha": ("F32", ()),
                f"{CONV}.hada_w1_b": ("F16", (3, 144)),
                f"{TEXT}.hada_w2_a": ("F16", (32, 3)),
            },
        ),
        (
            "lokr",
            {
                f"{LINEAR}.lokr_w1": ("F16", (4, 4)),
                f"{LINEAR}.lokr_w2": ("F16", (4, 4)),
                f"{CONV}.lokr_w2": ("F16", (4, 4, 3, 3)),
                f"{TEXT}.lokr_w1": ("F16", (4, 4)),
                f"{TEXT}.lokr_w2_a": ("F16", (8, 2)),
                f"{TEXT}.lokr_w2_b": ("F16", (2, 8)),
                f"{TEXT}.alpha": ("F32", ()),
            },
        ),
        (
            "lokr-thin",
            {
                f"{CONV}.lokr_w1_a": ("F16", (4, 1)),
                f"{CONV}.lokr_w1_b": ("F16", (1, 4)),
                f"{CONV}.lokr_w2_a": ("F16", (4, 1)),
                f"{CONV}.lokr_w2_b": ("F16", (1, 36)),
            },
        ),
    ],
)
def test_names_shapes_and_types(name: str, wanted: dict, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    trained(ALL[name], path)
    metadata, header = read_header(path)
    assert wanted.items() <= header.items()
    exact = (".alpha", ".dora_scale")
    assert {t for n, (t, _) in header.items() if n.endswith(exact)} == {"F32"}
    assert {t for n, (t, _) in header.items() if not n.endswith(exact)} == {"F16"}
    assert metadata["ss_network_module"] == "lycoris.kohya"
    args = json.loads(metadata["ss_network_args"])
    assert args["algo"] == {"dora": "locon"}.get(name, name.partition("-")[0])
    assert (args.get("dora_wd"), args.get("wd_on_output")) == (
        ("True", "True") if name == "dora" else (None, None)
    )


def test_the_scale_of_two_full_factors_goes_into_w1(tmp_path: Path) -> None:
    """16 / 64: every reader takes a scale of 1 there, whatever alpha says."""
    path = tmp_path / "x.safetensors"
    _, adapter = trained(FULL, path, torch.float32)
    stored = load_file(path)
    key = next(n for n in adapter.trainables if n.endswith("attn1.to_q.lokr_w1"))
    name = name_of(*key.removesuffix(".lokr_w1").split(".", 1))
    assert torch.equal(stored[f"{name}.lokr_w1"], adapter.trainables[key] * 0.25)
    assert float(stored[f"{name}.alpha"]) == 64
    layer = read(path).layers[name]
    assert layer.scale == 1
    expected = 0.25 * torch.kron(
        adapter.trainables[key], adapter.trainables[key.replace("w1", "w2")]
    )
    assert torch.allclose(layer.delta(), expected, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_there_and_back_by_pefts_form(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    trained(ALL[name], path)
    bases = {"parts": parts(), "name_of": name_of}
    there = convert(path, tmp_path / "peft.safetensors", to="peft", **bases)
    back = convert(there, tmp_path / "back.safetensors", to="kohya", **bases)
    first, last = load_file(path), load_file(back)
    assert first.keys() == last.keys()
    assert all(t.dtype == last[n].dtype and torch.equal(t, last[n]) for n, t in first.items())
    assert read_header(path)[0]["ss_network_args"] == read_header(back)[0]["ss_network_args"]
    fresh, other = parts(), parts()
    attach_file(there, fresh, name_of=name_of)
    attach_file(path, other, name_of=name_of)
    assert torch.equal(answer(fresh), answer(other))


@pytest.mark.parametrize("name", ALL)
def test_peft_itself_reads_its_form(name: str, tmp_path: Path) -> None:
    """By its own configuration classes, from the metadata alone."""
    from peft import (
        LoHaConfig,
        LoKrConfig,
        LoraConfig,
        inject_adapter_in_model,
        set_peft_model_state_dict,
    )

    configs = {"lora": LoraConfig, "dora": LoraConfig, "loha": LoHaConfig, "lokr": LoKrConfig}
    settings = ALL[name].model_copy(update={"text_encoder": False})
    path = tmp_path / "x.safetensors"
    models, _ = trained(settings, path, torch.float32)
    there = convert(path, tmp_path / "peft.safetensors", to="peft")
    packed = json.loads(read_header(there)[0]["lora_adapter_metadata"])
    arguments = {key.removeprefix("unet."): value for key, value in packed.items()}
    unet = parts()["unet"]
    config = configs[name.partition("-")[0]](**arguments)
    state = {key.removeprefix("unet."): value for key, value in load_file(there).items()}
    inject_adapter_in_model(config, unet, state_dict=state)
    result = set_peft_model_state_dict(unet, state)
    assert not result.unexpected_keys
    assert torch.allclose(answer(models | {"unet": unet.eval()}), answer(models), atol=2e-5)


@pytest.mark.parametrize("name", ["dora", "loha", "lokr-full", "lokr-thin"])
def test_a_folder_that_peft_saved(name: str, tmp_path: Path) -> None:
    from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model

    shared = {"r": 4, "target_modules": ["to_q", "conv1"]}
    configs = {
        "dora": lambda: LoraConfig(lora_alpha=6, use_dora=True, init_lora_weights=False, **shared),
        "loha": lambda: LoHaConfig(alpha=6, init_weights=False, **shared),
        "lokr-full": lambda: LoKrConfig(alpha=6, init_weights=False, **shared | {"r": 99}),
        "lokr-thin": lambda: LoKrConfig(
            alpha=3, init_weights=False, decompose_both=True, **shared | {"r": 1}
        ),
    }
    models, fresh = parts(), parts()
    torch.manual_seed(0)
    peft = get_peft_model(models["unet"], configs[name]())
    for n, p in peft.named_parameters():
        if "magnitude" in n:
            p.data *= 1.1
    peft.eval().save_pretrained(tmp_path)
    attach_file(tmp_path / "adapter_model.safetensors", fresh, name_of=name_of)
    assert torch.allclose(answer(fresh), answer(models), atol=2e-5)


def test_peft_has_no_mixture_of_methods(tmp_path: Path) -> None:
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    trained(LoRA(rank=2, groups=("attention",)), one)
    trained(LoHa(rank=2, groups=("conv",)), other)
    mixed = tmp_path / "mixed.safetensors"
    save_file(load_file(one) | load_file(other), mixed)
    with pytest.raises(FileRefused, match="PEFT has one method for all layers of the unet"):
        convert(mixed, tmp_path / "peft.safetensors", to="peft")


def test_a_mixture_of_methods_is_put_on_a_model(tmp_path: Path) -> None:
    """As LyCORIS' presets make them: LoHa for one kind of layers, LoKr and DoRA for others."""
    from workbench.adapters.merge import merge

    tensors = {}
    for number, settings in enumerate(
        (
            LoHa(rank=2, groups=("conv",)),
            LoKr(rank=2, groups=("projection",)),
            LoRA(rank=2, groups=("time",)),
            LoRA(rank=2, groups=("attention",), dora=True, text_encoder=True),
        )
    ):
        path = tmp_path / f"{number}.safetensors"
        trained(settings, path, torch.float32)
        tensors |= load_file(path)
    mixed = tmp_path / "mixed.safetensors"
    save_file(tensors, mixed)
    models, merged = parts(), parts()
    base = answer(models)
    adapter = attach_file(mixed, models, name_of=name_of)
    merge(merged, mixed, name_of=name_of)
    assert torch.allclose(answer(models), answer(merged), atol=1e-4)
    with adapter.strength(0):
        assert torch.equal(answer(models), base)
    adapter.detach()
    assert torch.equal(answer(models), base)
