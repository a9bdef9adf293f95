"""LoRA: which layers, which scale, how it starts."""

import math

import pytest
import torch
from small_models import ALL_GROUPS, TARGETS, answer, learn, parts

from workbench.adapters import LoRA
from workbench.settings import SettingsError


def attach(settings: LoRA, models=None):
    return settings.attach(models or parts(), TARGETS, generator=torch.Generator().manual_seed(0))


def test_adapts_the_layers_of_its_groups() -> None:
    names = attach(LoRA(rank=2, groups=("time", "projection"))).layers()
    paths = {name.removeprefix("unet.") for name in names}
    assert {p.rpartition(".")[2] for p in paths} == {
        "proj_in",
        "proj_out",
        "time_emb_proj",
        "linear_1",
        "linear_2",
    }
    everything = attach(LoRA(rank=2, groups=ALL_GROUPS)).layers()
    assert not any("conv_in" in n or "conv_out" in n or "norm" in n for n in everything)


def test_alpha_over_rank_is_the_scale() -> None:
    layer = next(iter(attach(LoRA(rank=8)).layers().values()))
    assert (layer.rank, layer.alpha, layer.scale) == (8, 8.0, 1.0)
    layer = next(iter(attach(LoRA(rank=8, alpha=2)).layers().values()))
    assert (layer.rank, layer.alpha, layer.scale) == (8, 2.0, 0.25)
    layer = next(iter(attach(LoRA(rank=8, alpha=2, rank_scaled=True)).layers().values()))
    assert layer.scale == pytest.approx(2 / math.sqrt(8), rel=1e-6)
    assert layer.alpha == torch.tensor(layer.alpha, dtype=torch.float32).item()


def test_text_encoders_have_their_own_rank() -> None:
    settings = LoRA(rank=8, text_encoder=True, text_encoder_rank=2)
    ranks = {(n.partition(".")[0], x.rank, x.scale) for n, x in attach(settings).layers().items()}
    assert ranks == {("unet", 8, 1.0), ("text_encoder", 2, 1.0)}


def test_starts_uniform_as_peft_does() -> None:
    """kaiming_uniform(a=sqrt 5): within 1 / sqrt(fan in), variance a third of its square."""
    layers = attach(LoRA(rank=64, groups=("conv", "attention"))).layers().values()
    for layer in layers:
        bound = 1 / math.sqrt(layer.down[0].numel())
        assert layer.down.abs().max() <= bound
        assert layer.down.var() == pytest.approx(bound**2 / 3, rel=0.15)
        assert not layer.up.any()


def test_forward_is_w_plus_the_scaled_product() -> None:
    """Against the formula, in numbers of our own."""
    models = parts()
    attached = attach(LoRA(rank=4, alpha=3, groups=("attention", "conv")), models)
    learn(attached.trainables)
    unet = models["unet"]
    linear = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    x = torch.randn(2, 5, 16)
    wrapped, layer = unet.get_submodule(linear), attached.layers()[f"unet.{linear}"]
    expected = x @ wrapped.base_layer.weight.T + 3 / 4 * (x @ layer.down.T) @ layer.up.T
    assert torch.allclose(wrapped(x), expected, atol=1e-5)
    conv = "down_blocks.0.resnets.0.conv1"
    wrapped, layer = unet.get_submodule(conv), attached.layers()[f"unet.{conv}"]
    weight = wrapped.base_layer.weight + 3 / 4 * torch.einsum(
        "or,rihw->oihw", layer.up[:, :, 0, 0], layer.down
    )
    x = torch.randn(2, 16, 6, 6)
    expected = torch.nn.functional.conv2d(x, weight, wrapped.base_layer.bias, padding=1)
    assert torch.allclose(wrapped(x), expected, atol=1e-5)


def test_a_dora_starts_as_its_base_under_autocast_too_but_not_in_bfloat16() -> None:
    """Its ratio of lengths is exactly 1 as long as both are computed in fp32."""
    models = parts()
    base = answer(models)
    adapter = attach(LoRA(rank=4, dora=True), models)
    assert torch.equal(answer(models), base)
    with torch.autocast("cpu", torch.bfloat16):
        on = answer(models)
        with adapter.strength(0):
            assert torch.equal(answer(models), on)
    for p in adapter.trainables.values():
        p.data = p.data.bfloat16()
    assert (answer(models) - base).norm() > 5e-4 * base.norm()


def test_dropout_follows_the_models_mode() -> None:
    models = parts()
    attached = attach(LoRA(rank=4, dropout=0.5), models)
    learn(attached.trainables)
    assert torch.equal(answer(models), answer(models))
    models["unet"].train()
    assert not torch.equal(answer(models), answer(models))


def test_detached_models_can_be_adapted_again() -> None:
    models = parts()
    base = answer(models)
    first = attach(LoRA(rank=2), models)
    with pytest.raises(ValueError, match="holds an adapter already"):
        attach(LoRA(rank=4), models)
    first.detach()
    assert torch.equal(answer(models), base)
    second = attach(LoRA(rank=4), models)
    assert next(iter(second.layers().values())).rank == 4


def test_groups_that_the_model_lacks_are_named() -> None:
    targets = {"unet": {"attention": ("to_q",)}}
    with pytest.raises(SettingsError, match=r"\('attention',\) for this model, got \['conv'\]"):
        LoRA(groups=("conv",)).attach(parts(), targets, generator=torch.Generator())
    with pytest.raises(SettingsError, match="fit no layer of the text_encoder"):
        LoRA(groups=("conv",), text_encoder=True).attach(
            parts(), TARGETS, generator=torch.Generator()
        )
