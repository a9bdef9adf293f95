"""The limit on |dW|: kept, without touching what is within it."""

import pytest
import torch
from small_models import ALL_GROUPS, TARGETS, learn, parts

from workbench.adapters import LoHa, LoKr, LoRA

SETTINGS = [
    LoRA(rank=4, alpha=2.5, groups=ALL_GROUPS, max_norm=0.3),
    LoRA(rank=4, dora=True, max_norm=0.3),
    LoHa(rank=3, groups=ALL_GROUPS, max_norm=0.3),
    LoKr(rank=2, factor=4, groups=ALL_GROUPS, decompose_both=True, max_norm=0.3),
    LoKr(rank=64, alpha=8, max_norm=0.1),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.kind}-{s.rank}")
def test_long_changes_are_scaled_back_and_short_ones_stay(settings) -> None:
    adapter = settings.attach(parts(), TARGETS, generator=torch.Generator().manual_seed(0))
    assert adapter.traces() == {}
    learn(adapter.trainables, 0.15)
    first = next(iter(adapter.layers()))
    for name, p in adapter.trainables.items():
        if name.startswith(f"{first}.") and not name.endswith("magnitude"):
            p.data *= 0.05
    before, state = adapter.layers(), adapter.state()
    lengths = {name: float(layer.product().norm()) for name, layer in before.items()}
    directions = {n: layer.product() / layer.product().norm() for n, layer in before.items()}
    adapter.after_step()
    after = adapter.layers()
    limit = settings.max_norm
    assert lengths[first] < limit < max(lengths.values())
    for name, layer in after.items():
        assert float(layer.product().norm()) == pytest.approx(min(lengths[name], limit), rel=1e-4)
        assert torch.allclose(layer.product() / layer.product().norm(), directions[name], atol=1e-4)
    kept = {n: v for n, v in adapter.state().items() if n.startswith(f"{first}.")}
    assert all(torch.equal(value, state[name]) for name, value in kept.items())
    assert adapter.traces() == {
        "scaled layers": sum(length > limit for length in lengths.values()),
        "longest dW": pytest.approx(max(lengths.values()), rel=1e-5),
    }


def test_no_limit_no_trace() -> None:
    adapter = LoRA(rank=2).attach(parts(), TARGETS, generator=torch.Generator())
    learn(adapter.trainables)
    before = adapter.state()
    adapter.after_step()
    assert adapter.traces() == {}
    assert all(torch.equal(value, before[name]) for name, value in adapter.state().items())
