"""Checkpoints of optimizers and scalers: training goes on to the bit."""

import time

import pytest
import torch
from bitwise import same

from workbench.records.checkpoint import (
    Bundle,
    newest_valid,
    save,
)


def adamw(groups):
    return torch.optim.AdamW(groups)


def prodigy(groups):
    from prodigyopt import Prodigy

    return Prodigy(
        [{**group, "lr": 1.0} for group in groups],
        safeguard_warmup=True,
        use_bias_correction=True,
        slice_p=11,
    )


def adamw8bit(groups):
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(groups, min_8bit_size=16)


def lion8bit(groups):
    from bitsandbytes.optim import Lion8bit

    return Lion8bit(groups, min_8bit_size=16)


def adafactor(groups):
    from transformers import Adafactor

    return Adafactor(groups, scale_parameter=False, relative_step=False, warmup_init=False)


def trained(make, start, *, steps, state=None, first=0):
    """Train two groups of parameters with given gradients; a state is loaded before."""
    from diffusers.optimization import get_scheduler

    weights = [torch.nn.Parameter(value.clone()) for value in start]
    optimizer = make(
        [{"params": weights[:2], "lr": 1e-2}, {"params": weights[2:], "lr": 1e-3, "name": "te"}]
    )
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=2, num_training_steps=20)
    if state is not None:
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    for step in range(first, first + steps):
        noise = torch.Generator().manual_seed(step)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=noise)
        optimizer.step()
        schedule.step()
    state = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    return [weight.detach().clone() for weight in weights], state


@pytest.mark.parametrize("make", [adamw, prodigy, adamw8bit, lion8bit, adafactor])
def test_optimizer_goes_on_to_the_bit(tmp_path, make):
    noise = torch.Generator().manual_seed(0)
    start = [torch.randn(16, 32, generator=noise) for _ in range(3)] + [torch.ones(5)]
    half, state = trained(make, start, steps=4)
    save(tmp_path, 4, Bundle.pack(state), recipe_hash="")
    loaded = newest_valid(tmp_path).bundle.unpack()
    assert same(loaded, state)
    if make in (adamw8bit, lion8bit):
        nested = loaded["optimizer"]["state"][0]["__bnb_optimizer_quant_state__"]
        assert nested["state1"].dtype == torch.uint8
    resumed, end = trained(make, half, steps=4, state=loaded, first=4)
    straight, straight_end = trained(make, start, steps=8)
    assert same(resumed, straight)
    assert same(end, straight_end)


def test_scaler_goes_on(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=3.0)
    state = scaler.state_dict()
    save(tmp_path, 1, Bundle.pack({"scaler": state}), recipe_hash="")
    assert same(newest_valid(tmp_path).bundle.unpack()["scaler"], state)


def test_saving_costs_about_its_bytes(tmp_path):
    weights = {str(n): torch.randn(256, 1024) for n in range(8)}  # 8 MiB
    started = time.process_time()
    save(tmp_path, 1, Bundle.pack({"adapter": weights}), recipe_hash="")
    assert time.process_time() - started < 1.0
