"""Dropouts: what is left out, how often, and that what is left makes up for it."""

import pytest
import torch
from small_models import TARGETS, answer, learn, parts
from torch import nn
from torch.utils.checkpoint import checkpoint

from workbench.adapters import LoHa, LoKr, LoRA
from workbench.adapters.dropouts import drop_ranks, skip_adapters

LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def attach(settings, models: dict[str, nn.Module]):
    adapter = settings.attach(models, TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables)
    return adapter


@pytest.mark.parametrize(
    ("down", "shape", "axis"),
    [
        (nn.Linear(4, 8, bias=False), (2000, 3, 4), -1),
        (nn.Linear(4, 8, bias=False), (2000, 4), -1),
        (nn.Conv2d(4, 8, 3, bias=False), (2000, 4, 4, 4), 1),
    ],
)
def test_ranks_are_left_out_by_sample_and_made_up_for(
    down: nn.Module, shape: tuple[int, ...], axis: int
) -> None:
    x = torch.ones(shape)
    whole = down(x)
    drop_ranks(down, 0.25)
    torch.manual_seed(0)
    with torch.no_grad():
        kept = (down.train()(x) / whole).transpose(axis, 1).reshape(2000, 8, -1)
        found = kept.amin(-1)  # (N, rank)
        assert torch.allclose(found, kept.amax(-1)), "the same for all pixels and words"
        assert torch.equal(down.eval()(x), whole)
    assert {round(float(v), 4) for v in found.unique()} == {0.0, round(1 / 0.75, 4)}
    assert (found == 0).float().mean() == pytest.approx(0.25, abs=0.02)
    assert found.mean() == pytest.approx(1, abs=0.03)
    assert not torch.equal(found[0], found[1]) or not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    "settings",
    [
        LoRA(rank=4, module_dropout=0.3),
        LoRA(rank=4, dora=True, module_dropout=0.3),
        LoHa(rank=4, module_dropout=0.3),
        LoKr(rank=4, module_dropout=0.3),
    ],
    ids=lambda s: f"{s.kind}-dora" if getattr(s, "dora", False) else s.kind,
)
def test_whole_adapters_are_left_out_so_often(settings) -> None:
    models = parts()
    attach(settings, models)
    layer = models["unet"].get_submodule(LAYER)
    x = torch.randn(2, 5, 16)
    base, adapted = layer.get_base_layer()(x), layer(x)
    layer.train()
    torch.manual_seed(0)
    outputs = [layer(x) for _ in range(400)]
    skipped = [torch.equal(y, base) for y in outputs]
    assert all(s or torch.equal(y, adapted) for s, y in zip(skipped, outputs, strict=True))
    assert sum(skipped) / 400 == pytest.approx(0.3, abs=0.07)
    assert not layer.disable_adapters
    layer.eval()
    assert torch.equal(layer(x), adapted)


def test_nothing_is_left_out_where_the_adapter_is_off() -> None:
    models = parts()
    base = answer(models)
    adapter = attach(LoRA(rank=4, module_dropout=0.5, rank_dropout=0.5), models)
    models["unet"].train()
    with adapter.strength(0):
        assert torch.equal(answer(models), base)


def test_checkpointing_sees_the_same_draws_twice() -> None:
    """Its second forward pass ends early, by an exception, and must leave no adapter off."""
    models = parts()
    adapter = attach(LoRA(rank=4, module_dropout=0.5, rank_dropout=0.3), models)
    layer = models["unet"].get_submodule(LAYER).train()
    x = torch.randn(2, 5, 16, requires_grad=True)
    found = []
    for seed in range(6):
        for through in (lambda x: layer(x), lambda x: checkpoint(layer, x, use_reentrant=False)):
            torch.manual_seed(seed)
            through(x).square().sum().backward()
            weight = adapter.trainables[f"unet.{LAYER}.lora_B"]
            found.append(None if weight.grad is None else weight.grad.clone())
            weight.grad = None
            assert not layer.disable_adapters
    pairs = list(zip(found[::2], found[1::2], strict=True))
    assert any(a is None for a, _ in pairs) and any(a is not None for a, _ in pairs)
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_hooks_come_off_with_the_adapter() -> None:
    models = parts()
    adapter = attach(LoRA(rank=4, module_dropout=0.9), models)
    adapter.detach()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in models["unet"].modules())


def test_a_plain_module_can_be_skipped() -> None:
    class Wrapped(nn.Module):
        disable_adapters = property(lambda self: self._disable_adapters)

        def __init__(self) -> None:
            super().__init__()
            self._disable_adapters = False

        def forward(self, fail: bool) -> bool:
            if fail:
                raise RuntimeError
            return self._disable_adapters

    module = Wrapped()
    skip_adapters(module, 0.9999)
    assert module(False) is True
    with pytest.raises(RuntimeError):
        module(True)
    assert not module._disable_adapters
