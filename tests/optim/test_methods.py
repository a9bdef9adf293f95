"""Single optimizers against their papers and libraries: rates that are found, factors, signs."""

import numpy as np
import pytest
import torch
from optim_bowl import FINDING, run, weights

from workbench.optim.optimizers import (
    CAME,
    Adafactor,
    Lion,
    Muon,
    OptimizerSettings,
    Prodigy,
)


def test_prodigy_traces_the_rate_that_it_found_and_the_way_it_came() -> None:
    params, settings = weights(), Prodigy(slice_p=1)
    start = [p.detach().clone() for group in params.values() for p in group]
    optimizer = settings.build(settings.groups(params))
    assert settings.traces(optimizer) == {"d": 1e-6, "d*lr": 1e-6, "|p-p0|": 0.0}
    run(params, optimizer, range(20))
    traces = settings.traces(optimizer)
    assert traces["d"] > 1e-5 and traces["d*lr"] == traces["d"]
    now = [p.detach() for group in params.values() for p in group]
    moved = sum(float((a - b).square().sum()) for a, b in zip(start, now, strict=True)) ** 0.5
    assert traces["|p-p0|"] == pytest.approx(moved, rel=1e-5)


def search(settings: OptimizerSettings, dtype: torch.dtype, steps: int) -> tuple[float, float]:
    """Rate found and largest change of weights of size .05 to .1 that are pulled to zero."""
    draw = torch.Generator().manual_seed(0)
    p = torch.nn.Parameter((0.05 + 0.05 * torch.rand(64, 64, generator=draw)).to(dtype))
    start = p.detach().clone()
    optimizer = settings.build(settings.groups({"unet": [p]}))
    for _ in range(steps):
        p.grad = p.detach().clone()
        optimizer.step()
    moved = float((p.detach() - start).abs().max())
    assert (settings.stuck(optimizer) is None) == (moved > 1e-3)
    return settings.traces(optimizer)["d"], moved


def test_prodigy_never_starts_in_bf16_unless_its_first_guess_is_large() -> None:
    """The first update is below half an ulp of such weights, 1.2e-4: they and d never move.

    It is 3.2 d0 by the library's settings, and d0 by those for diffusion.
    """
    theirs = {"beta2": 0.999, "bias_correction": False}
    assert search(Prodigy(**theirs), torch.bfloat16, 400) == (1e-6, 0.0)
    assert search(Prodigy(), torch.bfloat16, 400) == (1e-6, 0.0)
    assert search(Prodigy(learning_rate=1e-4), torch.float32, 100)[1] < 1e-4
    assert search(Prodigy(**theirs, d0=1e-4), torch.bfloat16, 100)[1] > 0.01
    assert search(Prodigy(d0=1e-4), torch.bfloat16, 100) == (1e-4, 0.0)
    found, moved = search(Prodigy(), torch.float32, 100)
    assert found > 1e-3 and moved > 0.01


@pytest.mark.parametrize("member", FINDING)
def test_a_rate_that_was_never_found_is_told(member: type[OptimizerSettings]) -> None:
    settings = member()
    optimizer = settings.build(settings.groups(weights()))
    message, fix = settings.stuck(optimizer) or ("", "")
    assert "still d0 = 1e-06" in message and "trainable_dtype" in fix
    params = weights()
    optimizer = settings.build(settings.groups(params))
    run(params, optimizer, range(20))
    assert settings.stuck(optimizer) is None


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


def test_adafactors_own_defaults_drop_the_given_rates() -> None:
    """What our settings keep users from: relative steps ignore the rate and both groups."""
    from transformers.optimization import Adafactor as Library

    params = {part: torch.nn.Parameter(torch.zeros(8, 40)) for part in ("unet", "text_encoder")}
    groups = [
        {"params": [p], "lr": lr} for p, lr in zip(params.values(), (1e-3, 1e-5), strict=True)
    ]
    optimizer = Library(groups)
    for p in params.values():
        p.grad = torch.ones_like(p)
    optimizer.step()
    moved = [float(p.detach().abs().mean()) for p in params.values()]
    assert moved == pytest.approx([1e-5, 1e-5], rel=1e-3)  # 1e-2 relative step x 1e-3 for zeros


def test_came_agrees_with_its_paper() -> None:
    """Algorithm 2 for one matrix, two steps, in plain numpy."""
    draw = np.random.default_rng(0)
    gradients = draw.normal(size=(2, 3, 4))
    betas, lr = (0.9, 0.999, 0.9999), 0.1
    row = col = res_row = res_col = 0.0
    momentum, expected = np.zeros((3, 4)), np.zeros((3, 4))

    def factored(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.outer(rows, columns) / rows.mean()

    for g in gradients:
        square = g**2 + 1e-30
        row = betas[1] * row + (1 - betas[1]) * square.mean(axis=1)
        col = betas[1] * col + (1 - betas[1]) * square.mean(axis=0)
        u = g / np.sqrt(factored(row, col))
        u /= max(1.0, np.sqrt((u**2).mean()))
        momentum = betas[0] * momentum + (1 - betas[0]) * u
        unsure = (u - momentum) ** 2 + 1e-16
        res_row = betas[2] * res_row + (1 - betas[2]) * unsure.mean(axis=1)
        res_col = betas[2] * res_col + (1 - betas[2]) * unsure.mean(axis=0)
        expected -= lr * momentum / np.sqrt(factored(res_row, res_col))

    p = torch.nn.Parameter(torch.zeros(3, 4))
    settings = CAME(learning_rate=lr, weight_decay=0)
    optimizer = settings.build(settings.groups({"unet": [p]}))
    for g in gradients:
        p.grad = torch.tensor(g, dtype=torch.float32)
        optimizer.step()
    assert np.allclose(p.detach().numpy(), expected, rtol=1e-4)


def test_muon_moves_matrices_like_torchs_own_and_vectors_by_adamw() -> None:
    matrix = torch.nn.Parameter(torch.ones(8, 20))
    vector = torch.nn.Parameter(torch.ones(8))
    oracle = torch.nn.Parameter(torch.ones(8, 20))
    settings = Muon(learning_rate=1e-2, weight_decay=0.1)
    optimizer = settings.build(settings.groups({"unet": [matrix, vector]}))
    assert [g["name"] for g in optimizer.param_groups] == ["unet", "unet (AdamW)"]
    theirs = torch.optim.Muon(
        [oracle], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw", momentum=0.95
    )
    for step in range(3):
        matrix.grad = torch.randn(8, 20, generator=torch.Generator().manual_seed(step))
        oracle.grad, vector.grad = matrix.grad.clone(), torch.ones(8)
        optimizer.step()
        theirs.step()
    moved, expected = matrix.detach() - 1, oracle.detach() - 1
    # Both iterate in bf16, in another order.
    assert float((moved - expected).norm()) < 0.02 * float(expected.norm())
    assert torch.allclose(vector, torch.full((8,), 0.967), atol=1e-3)
