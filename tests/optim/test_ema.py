"""The moving average follows diffusers' formula in fp32, and gives the weights back."""

import pytest
import torch

from workbench.optim import Ema, EMASettings
from workbench.optim import ema as ema_module


def weights(dtype: torch.dtype = torch.float32) -> dict[str, torch.nn.Parameter]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"unet.a.lora_A": (4, 6), "unet.a.lora_B": (6, 4)}
    return {
        n: torch.nn.Parameter(torch.randn(s, generator=draw, dtype=dtype))
        for n, s in shapes.items()
    }


def walk(params: dict[str, torch.nn.Parameter], ema: Ema, steps: int) -> None:
    for step in range(steps):
        for p in params.values():
            p.data += torch.randn(p.shape, generator=torch.Generator().manual_seed(step)).to(p)
        ema.update()


def test_agrees_with_diffusers() -> None:
    from diffusers.training_utils import EMAModel

    params = weights()
    ema, oracle = EMASettings(decay=0.8).build(params), EMAModel(params.values(), decay=0.8)
    for _ in range(50):
        walk(params, ema, 1)
        oracle.step(params.values())
    for ours, theirs in zip(ema.state().values(), oracle.shadow_params, strict=False):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert oracle.cur_decay_value == EMASettings(decay=0.8).decay_at(ema.num_updates - 1) == 0.8


def test_is_fp32_over_low_precision_weights() -> None:
    """A bf16 average would stay where it is: each move is below half an ulp."""
    params = {"unet.a.lora_A": torch.nn.Parameter(torch.ones(8, dtype=torch.bfloat16))}
    ema = EMASettings(decay=0.999).build(params)
    ema.num_updates = 100_000
    params["unet.a.lora_A"].data *= 1.1
    for _ in range(1000):
        ema.update()
    state = ema.state()["unet.a.lora_A"]
    assert state.dtype == torch.float32
    assert state[0].item() == pytest.approx(1 + 0.1015625 * (1 - 0.999**1000), rel=1e-4)


def test_swapping_lends_the_average_and_returns_the_weights() -> None:
    params = weights()
    ema = EMASettings(decay=0.9).build(params)
    walk(params, ema, 5)
    before = {n: p.detach().clone() for n, p in params.items()}
    average = ema.state()
    with pytest.raises(RuntimeError), ema.swapped():
        assert all(torch.equal(p, average[n]) for n, p in params.items())
        with ema.swapped():
            assert all(torch.equal(p, average[n]) for n, p in params.items())
        assert all(torch.equal(p, average[n]) for n, p in params.items())
        raise RuntimeError
    assert all(torch.equal(p, before[n]) for n, p in params.items())
    assert ema.distance() == pytest.approx(
        sum((before[n] - average[n]).square().sum().item() for n in before) ** 0.5
    )


def test_resumes_bit_for_bit_by_name() -> None:
    whole, halves = weights(), weights()
    first = EMASettings(decay=0.9).build(whole)
    walk(whole, first, 7)
    second = EMASettings(decay=0.9).build(halves)
    walk(halves, second, 4)
    third = EMASettings(decay=0.9).build(halves)
    third.load(dict(reversed(second.state().items())))
    for step in range(4, 7):
        for p in halves.values():
            p.data += torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
        third.update()
    assert third.num_updates == first.num_updates == 7
    for name, value in first.state().items():
        assert torch.equal(value, third.state()[name])


def test_a_state_of_other_weights_is_refused_whole() -> None:
    ema = EMASettings().build(weights())
    before = ema.state()
    wrong = {**before, "unet.a.lora_A": torch.zeros(9, 9)}
    with pytest.raises(ValueError, match=r"unet\.a\.lora_A"):
        ema.load(wrong)
    assert all(torch.equal(v, before[n]) for n, v in ema.state().items())


@pytest.mark.parametrize(("decay", "steps"), [(0.999, 8990), (0.9999, 89990), (0.0, 0)])
def test_decay_has_no_effect_while_the_warmup_acts(decay: float, steps: int) -> None:
    settings = EMASettings(decay=decay)
    assert settings.full_after() == steps
    assert settings.decay_at(steps + 1) == decay
    if steps:
        assert settings.decay_at(steps - 2) < decay


def test_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDXL's weights in bf16 are not widened all at once, which would take 10 GB."""
    whole, pieces = weights(torch.bfloat16), weights(torch.bfloat16)
    one = EMASettings(decay=0.8).build(whole)
    monkeypatch.setattr(ema_module, "PIECE", 1)
    other = EMASettings(decay=0.8).build(pieces)
    walk(whole, one, 5)
    walk(pieces, other, 5)
    assert len(other._pieces) == 2 and len(one._pieces) == 1
    assert all(torch.equal(value, other.average[name]) for name, value in one.average.items())


def test_a_state_to_be_written_at_once_is_not_copied() -> None:
    params = weights()
    ema = EMASettings(decay=0.8).build(params)
    lent, kept = ema.state(copy=False), ema.state()
    walk(params, ema, 3)
    name = next(iter(params))
    assert torch.equal(lent[name], ema.average[name])
    assert not torch.equal(kept[name], ema.average[name])
