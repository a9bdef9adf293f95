"""Every optimizer of the union learns, resumes bit for bit, and takes a rate for each part."""

import copy
import sys
from typing import get_args

import pytest
import torch

from workbench.optim.optimizers import (
    Adafactor,
    AdamW,
    AdamW8bit,
    Lion,
    Optimizer,
    OptimizerSettings,
    Prodigy,
)
from workbench.settings import SettingsError

MEMBERS = get_args(get_args(Optimizer)[0])


def tiny(member: type[OptimizerSettings]) -> OptimizerSettings:
    """Settings under which 300 weights use the method proper (8-bit needs a low threshold)."""
    return member(min_8bit_size=256) if member is AdamW8bit else member()


def weights() -> dict[str, list[torch.nn.Parameter]]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"unet": [(8, 40), (40, 8), (8,)], "text_encoder": [(4, 8, 3, 3)]}
    return {
        part: [torch.nn.Parameter(torch.randn(s, generator=draw)) for s in part_shapes]
        for part, part_shapes in shapes.items()
    }


def run(
    params: dict[str, list[torch.nn.Parameter]], optimizer: torch.optim.Optimizer, steps: range
) -> None:
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        for group in params.values():
            for p in group:  # a bowl around zero, with noise
                p.grad = p.detach() + 0.1 * torch.randn(p.shape, generator=draw)
        optimizer.step()


@pytest.mark.parametrize("member", MEMBERS)
class TestEveryOptimizer:
    def test_moves_downhill(self, member: type[OptimizerSettings]) -> None:
        params, settings = weights(), tiny(member)
        before = sum(float(p.detach().square().sum()) for g in params.values() for p in g)
        run(params, settings.build(settings.groups(params)), range(60))
        after = sum(float(p.detach().square().sum()) for g in params.values() for p in g)
        assert after < before

    def test_resumes_bit_for_bit(self, member: type[OptimizerSettings]) -> None:
        settings, whole, halves = tiny(member), weights(), weights()
        run(whole, settings.build(settings.groups(whole)), range(5))

        first = settings.build(settings.groups(halves))
        run(halves, first, range(3))
        state = copy.deepcopy(first.state_dict())
        resumed = {
            part: [torch.nn.Parameter(p.detach().clone()) for p in group]
            for part, group in halves.items()
        }
        second = settings.build(settings.groups(resumed))
        second.load_state_dict(state)
        run(resumed, second, range(3, 5))
        for part, group in whole.items():
            for expected, got in zip(group, resumed[part], strict=True):
                assert torch.equal(expected, got)

    def test_groups_carry_name_and_rate(self, member: type[OptimizerSettings]) -> None:
        params, settings = weights(), tiny(member)
        optimizer = settings.build(settings.groups(params))
        assert [g["name"] for g in optimizer.param_groups] == ["unet", "text_encoder"]
        assert {g["lr"] for g in optimizer.param_groups} == {settings.learning_rate}
        assert all(isinstance(v, float) for v in settings.traces(optimizer).values())

    def test_prints_nothing(
        self, member: type[OptimizerSettings], capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings = tiny(member)
        settings.build(settings.groups(weights()))
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize("member", [m for m in MEMBERS if m is not Prodigy])
def test_text_encoder_has_its_own_rate(member: type[OptimizerSettings]) -> None:
    settings = member(learning_rate=2e-4, text_encoder_learning_rate=5e-5)
    optimizer = settings.build(settings.groups(weights()))
    assert [g["lr"] for g in optimizer.param_groups] == [2e-4, 5e-5]
    assert settings.rate("text_encoder_2") == 5e-5


def test_parts_that_do_not_learn_make_no_group() -> None:
    assert AdamW().groups({"unet": weights()["unet"], "text_encoder": []})[-1]["name"] == "unet"


def test_adamw_8bit_keeps_one_byte_a_weight_where_the_tensor_is_large_enough() -> None:
    params, settings = weights(), AdamW8bit(min_8bit_size=256)
    optimizer = settings.build(settings.groups(params))
    run(params, optimizer, range(1))
    types = [optimizer.state[p]["state1"].dtype for g in params.values() for p in g]
    assert types == [torch.uint8, torch.uint8, torch.float32, torch.uint8]


def test_prodigy_traces_the_rate_that_it_found() -> None:
    params, settings = weights(), Prodigy()
    optimizer = settings.build(settings.groups(params))
    assert settings.traces(optimizer) == {"d": 1e-6, "d*lr": 1e-6}
    run(params, optimizer, range(20))
    traces = settings.traces(optimizer)
    assert traces["d"] > 1e-5 and traces["d*lr"] == traces["d"]


def test_prodigy_refuses_two_rates() -> None:
    settings = Prodigy(text_encoder_learning_rate=0.5)
    with pytest.raises(SettingsError, match=r"must equal learning_rate for prodigy.*\[0.5, 1.0\]"):
        settings.build(settings.groups(weights()))


def test_adafactor_moves_a_zero_weight_at_the_given_rate() -> None:
    """With the library's defaults a weight of zeros moves a thousand times less."""
    p = torch.nn.Parameter(torch.zeros(8, 40))
    p.grad = torch.ones_like(p)
    settings = Adafactor(learning_rate=1e-3)
    settings.build(settings.groups({"unet": [p]})).step()
    assert torch.allclose(p, torch.full_like(p, -1e-3), rtol=1e-4)


def test_lion_agrees_with_bitsandbytes() -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    ours, theirs = weights(), weights()
    settings = Lion(learning_rate=1e-3, weight_decay=0.1)
    run(ours, settings.build(settings.groups(ours)), range(10))
    flat = [p for group in theirs.values() for p in group]
    oracle = bitsandbytes.optim.Lion(flat, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    run(theirs, oracle, range(10))
    for part, group in ours.items():
        for a, b in zip(group, theirs[part], strict=True):
            assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "library"),
    [(AdamW8bit(), "bitsandbytes"), (Prodigy(), "prodigyopt")],
)
def test_a_missing_library_is_named_with_the_fix(
    settings: OptimizerSettings, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingsError, match=f"pip install {library}.*or choose adamw"):
        settings.build(settings.groups(weights()))
