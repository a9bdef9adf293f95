"""Every schedule of the union warms up and ends where it says, for each group alike."""

import math
from typing import get_args

import pytest
import torch

from workbench.optim.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Linear,
    Polynomial,
    Schedule,
    ScheduleSettings,
    WarmupStableDecay,
)
from workbench.settings import SettingsError, from_dict

MEMBERS = get_args(get_args(Schedule)[0])


def rates(settings: ScheduleSettings, num_steps: int) -> list[tuple[float, ...]]:
    """Rates in use at each step, for groups of rate 1 and 0.5."""
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr, "name": name}
        for name, lr in (("unet", 1.0), ("text_encoder", 0.5))
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = settings.build(optimizer, num_steps)
    seen = []
    for _ in range(num_steps):
        seen.append(tuple(g["lr"] for g in optimizer.param_groups))
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("member", MEMBERS)
class TestEverySchedule:
    def test_warms_up_from_zero_to_the_full_rate(self, member: type[ScheduleSettings]) -> None:
        first = [unet for unet, _ in rates(member(warmup=4), 20)[:5]]
        assert first == pytest.approx([0, 0.25, 0.5, 0.75, 1])

    def test_keeps_the_groups_ratio(self, member: type[ScheduleSettings]) -> None:
        for unet, text_encoder in rates(member(warmup=0.1), 20):
            assert text_encoder == pytest.approx(unet / 2)

    def test_resumes(self, member: type[ScheduleSettings]) -> None:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = member(warmup=2).build(optimizer, 10)
        for _ in range(5):
            optimizer.step()
            scheduler.step()
        other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        resumed = member(warmup=2).build(other, 10)
        resumed.load_state_dict(scheduler.state_dict())
        other.load_state_dict(optimizer.state_dict())
        for _ in range(5):
            for o, s in ((optimizer, scheduler), (other, resumed)):
                o.step()
                s.step()
            assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"]


def test_shapes() -> None:
    assert {unet for unet, _ in rates(Constant(), 10)} == {1.0}
    assert [u for u, _ in rates(Linear(), 4)] == pytest.approx([1, 0.75, 0.5, 0.25])
    cosine = [(1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]
    assert [u for u, _ in rates(Cosine(), 8)] == pytest.approx(cosine)
    twice = [(1 + math.cos(math.pi * (i % 4) / 4)) / 2 for i in range(8)]
    assert [u for u, _ in rates(CosineRestarts(cycles=2), 8)] == pytest.approx(twice)
    polynomial = [0.2 + 0.8 * (1 - i / 5) ** 3 for i in range(5)]
    got = [u for u, _ in rates(Polynomial(power=3, end=0.2), 5)]
    assert got == pytest.approx(polynomial)
    falling = [1.0] * 6 + [1 - math.sqrt(i / 4) for i in range(4)]
    assert [u for u, _ in rates(WarmupStableDecay(decay=4), 10)] == pytest.approx(falling)
    linear = [0, 0.5, *[1.0] * 6, 1, 0.5]
    line = WarmupStableDecay(warmup=2, decay=0.2, shape="linear")
    assert [u for u, _ in rates(line, 10)] == pytest.approx(linear)


def test_a_longer_run_leaves_the_stable_part_as_it_was() -> None:
    short, long = (rates(WarmupStableDecay(warmup=3, decay=4), steps) for steps in (12, 20))
    assert short[:8] == long[:8]


def test_a_warmup_and_a_fall_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must fit into the run of 10 steps, got 4 \+ 8"):
        WarmupStableDecay(warmup=4, decay=8).decay_steps(10)
    with pytest.raises(SettingsError, match=r"decay must be below 1 .* got 2\.5"):
        from_dict(WarmupStableDecay, {"decay": 2.5})


@pytest.mark.parametrize(("warmup", "steps"), [(0, 0), (0.05, 10), (0.5, 100), (1, 1), (30, 30)])
def test_warmup_is_a_share_or_a_number_of_steps(warmup: float, steps: int) -> None:
    assert Constant(warmup=warmup).warmup_steps(200) == steps


def test_a_warmup_as_long_as_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup must be shorter than the run of 50 steps, got 50"):
        Cosine(warmup=50).warmup_steps(50)


def test_half_steps_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"got 1\.5"):
        from_dict(Constant, {"warmup": 1.5})
