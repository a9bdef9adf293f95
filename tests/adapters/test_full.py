"""A full fine-tune goes back to its base to the last bit, and keeps what it learned meanwhile."""

import pytest
import torch
from bitwise import same
from torch import nn

from workbench.adapters import Full


def attached(dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight[0] = -0.0  # as underflow leaves it; learned in both directions
    first = {name: p.detach().clone() for name, p in module.named_parameters()}
    adapter = Full().attach({"unet": module}, {}, generator=torch.Generator())
    for p in adapter.trainables.values():
        p.data = (p.data + 0.1 * torch.randn_like(p)).to(dtype)
    return module, adapter, first


def test_strength_0_is_the_base_bit_for_bit_in_any_type():
    for dtype in (torch.float32, torch.bfloat16):
        module, adapter, first = attached(dtype)
        learned = adapter.state()
        with adapter.strength(0):
            assert same(dict(module.named_parameters()).keys(), first.keys())
            assert all(same(p.data, first[name]) for name, p in module.named_parameters())
        assert same(adapter.state(), learned)


def test_what_happens_to_the_base_meanwhile_does_not_touch_the_first_weights():
    module, adapter, first = attached()
    with adapter.lifted():
        for p in module.parameters():
            p.data.zero_()  # a file's weights are copied in
    assert all(p.requires_grad for p in adapter.trainables.values())
    with adapter.strength(0):
        assert all(same(p.data, first[name]) for name, p in module.named_parameters())


def test_rounded_weights_come_back():
    _, adapter, _ = attached()
    learned = adapter.state()
    with adapter.rounded(torch.bfloat16):
        for name, p in adapter.trainables.items():
            assert same(p.data, learned[name].to(torch.bfloat16).float())
    assert same(adapter.state(), learned)


def test_first_weights_are_kept_in_the_bases_own_type_and_come_back_in_it():
    """Half the memory of fp32 for a base in bfloat16, and not a bit less."""
    torch.manual_seed(0)
    module = nn.Linear(3, 2).bfloat16()
    first = {name: p.detach().clone() for name, p in module.named_parameters()}
    adapter = Full().attach({"unet": module}, {}, generator=torch.Generator())
    assert {tensor.dtype for tensor in adapter._first_weights().values()} == {torch.bfloat16}
    for p in adapter.trainables.values():
        p.data += 0.1
    with adapter.strength(0):
        assert all(same(p.data, first[n].float()) for n, p in module.named_parameters())
    changes = dict(adapter.delta())
    assert all(change.dtype == torch.float32 for change in changes.values())
    assert changes["unet.bias"].tolist() == pytest.approx([0.1, 0.1], abs=1e-3)
    adapter.detach()
    assert all(same(p.data, first[n]) for n, p in module.named_parameters())
