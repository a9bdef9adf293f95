"""bf16 weights learn from updates that rounding to the nearest would drop."""

import copy

import pytest
import torch

from workbench.optim import Averaging, rounding
from workbench.optim.optimizers import AdamW, Lion, OptimizerSettings, Prodigy, ScheduleFree
from workbench.optim.rounding import StandIns, is_stand_in, stochastic_round


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rounding_is_unbiased() -> None:
    """A fifth of the way between two bf16 values: a fifth of the draws round up."""
    low, high = torch.tensor([1.0, 1.0078125]), torch.tensor([-0.0625, -0.0629883])
    for a, b in (low, high):
        value = a + 0.2 * (b - a)
        rounded = stochastic_round(value.expand(200_000), generator=draws()).float()
        assert set(rounded.unique().tolist()) <= {
            float(x) for x in torch.stack([a, b]).bfloat16().float()
        }
        share = float((rounded != a.bfloat16().float()).float().mean())
        assert share == pytest.approx(0.2, abs=0.005)  # 4 standard errors are 0.0036
        assert float(rounded.double().mean()) == pytest.approx(float(value), rel=3e-5)


def test_what_bf16_can_hold_stays_as_it_is() -> None:
    values = torch.randn(10_000, generator=draws()).bfloat16()
    edges = torch.tensor([0.0, -0.0, 1e-38, 3e38]).bfloat16()
    for held in (values, edges):
        assert torch.equal(stochastic_round(held.float(), generator=draws(1)), held)


def bf16(value: float = 1.0, shape: tuple[int, ...] = (64, 64)) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.full(shape, value, dtype=torch.bfloat16))


def test_an_update_below_half_an_ulp_arrives_on_average() -> None:
    """Lion moves by the rate: 1e-4, where bf16 around 1 has steps of 4e-3 below and 8e-3 above."""
    settings = Lion(learning_rate=1e-4, weight_decay=0)
    nearest, rounded = bf16(), bf16()
    plain = settings.build(settings.groups({"unet": [nearest]}))
    stand_ins = StandIns(settings.groups({"unet": [rounded]}))
    wide = settings.build(stand_ins.groups)
    for step in range(50):
        for p in (nearest, rounded):
            p.grad = torch.ones_like(p)
        plain.step()
        stand_ins.step(wide, seed=0, step=step, apart=True)
    assert float((nearest.detach() - 1).abs().max()) == 0, (
        "rounded to the nearest, nothing ever moves"
    )
    moved = float((1 - rounded.detach().float()).mean())
    assert moved == pytest.approx(50 * 1e-4, rel=0.1)
    assert rounded.dtype == torch.bfloat16 and rounded.grad is None


def test_prodigy_starts_in_bf16_where_weights_are_rounded_at_random() -> None:
    settings, p = Prodigy(), bf16(0.07)
    stand_ins = StandIns(settings.groups({"unet": [p]}))
    optimizer = settings.build(stand_ins.groups)
    for step in range(200):
        p.grad = p.detach().clone()
        stand_ins.step(optimizer, seed=0, step=step, apart=settings.apart)
    assert settings.traces(optimizer)["d"] > 1e-4
    assert set(settings.traces(optimizer)) == {"d", "d*lr"}
    assert settings.stuck(optimizer) is None


@pytest.mark.parametrize("settings", [AdamW(), ScheduleFree(), Prodigy()])
def test_a_resume_rounds_alike_and_keeps_fp32_averages(settings: OptimizerSettings) -> None:
    def made(values: torch.Tensor) -> tuple[torch.nn.Parameter, StandIns, torch.optim.Optimizer]:
        p = torch.nn.Parameter(values.clone())
        stand_ins = StandIns(settings.groups({"unet": [p]}))
        return p, stand_ins, settings.build(stand_ins.groups)

    def steps(p: torch.nn.Parameter, stand_ins: StandIns, optimizer: object, span: range) -> None:
        for step in span:
            p.grad = torch.randn(p.shape, generator=draws(step)).bfloat16()
            stand_ins.step(optimizer, seed=3, step=step, apart=settings.apart)

    start = torch.randn(40, 8, generator=draws(9)).bfloat16()
    whole, half = made(start), made(start)
    steps(*whole, range(6))
    steps(*half, range(4))
    state = copy.deepcopy(half[2].state_dict())
    resumed = made(half[0].detach())
    resumed[2].load_state_dict(state)
    steps(*resumed, range(4, 6))
    assert torch.equal(resumed[0], whole[0])
    (held,) = resumed[2].state.values()
    assert {x.dtype for x in held.values() if isinstance(x, torch.Tensor)} == {torch.float32}


def test_pieces_compute_what_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(piece: int) -> list[torch.Tensor]:
        monkeypatch.setattr(rounding, "PIECE", piece)
        parts = {"unet": [bf16(1, (30,)), bf16(2, (7, 3))], "text_encoder": [bf16(3, (9,))]}
        settings = AdamW()
        stand_ins = StandIns(settings.groups(parts))
        optimizer = settings.build(stand_ins.groups)
        for step in range(3):
            for p in (p for group in parts.values() for p in group):
                p.grad = torch.randn(p.shape, generator=draws(step)).bfloat16()
            stand_ins.step(optimizer, seed=0, step=step, apart=True)
        assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1]
        return [p.detach() for group in parts.values() for p in group]

    for a, b in zip(trained(8), trained(10_000), strict=True):
        assert torch.equal(a, b)


def test_stand_ins_hold_nothing_between_steps() -> None:
    settings, p = AdamW(), bf16()
    wide = torch.nn.Parameter(torch.ones(3))
    stand_ins = StandIns(settings.groups({"unet": [p, wide]}))
    optimizer = settings.build(stand_ins.groups)
    stand_in, same = optimizer.param_groups[0]["params"]
    assert same is wide and [is_stand_in(x) for x in (stand_in, same)] == [True, False]
    assert stand_in.untyped_storage().nbytes() == 4
    p.grad, wide.grad = torch.ones_like(p), torch.ones(3)
    stand_ins.step(optimizer, seed=0, step=0, apart=True)
    assert is_stand_in(stand_in) and stand_in.grad is None
    assert float((wide.detach() - 1).abs().min()) > 0, "fp32 weights beside them learn as ever"


def test_an_average_of_bf16_weights_is_shown_and_put_back() -> None:
    settings, p = ScheduleFree(learning_rate=0.1), bf16(1.0, (50,))
    stand_ins = StandIns(settings.groups({"unet": [p]}))
    optimizer = settings.build(stand_ins.groups)
    averaging = Averaging(optimizer, stand_ins)
    for step in range(5):
        p.grad = torch.ones_like(p)
        stand_ins.step(optimizer, seed=0, step=step, apart=False)
    before = p.detach().clone()
    with averaging.shown():
        assert p.dtype == torch.bfloat16
        assert float(p.float().mean()) > float(before.float().mean()) + 0.01, "the average lags"
    assert torch.equal(p, before)
