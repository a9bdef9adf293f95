"""How far the weights have come, against the same numbers computed without any sampling."""

import math

import pytest
import torch
from tiny_recipes import assembled
from tiny_recipes import steps as steps_of
from torch import nn

from workbench.training import movement
from workbench.training.movement import Movement, block_of


def trained(recipe, *overrides: str, steps: int = 2):
    """A trainer some steps on, the last of them watched."""
    trainer = assembled(recipe(*overrides))
    moves = Movement(trainer)
    taken = steps_of(trainer)
    for number in range(steps):
        if number == steps - 1:
            moves.watch()
        before = {name: p.detach().clone() for name, p in trainer.trainables.items()}
        next(taken)
    return trainer, moves.measure(steps), before


def test_change_by_block_is_that_of_the_whole_weights(recipe):
    trainer, found, _ = trained(recipe)
    sums: dict[str, list[float]] = {}
    for name, change in trainer.adapter.delta():
        part, path = name.split(".", 1)
        weight = trainer.adapter.modules[part].get_submodule(path).get_base_layer().weight
        both = sums.setdefault(block_of(name), [0.0, 0.0])
        both[0] += float(change.double().square().sum())
        both[1] += float(weight.detach().double().square().sum())
    expected = {block: math.sqrt(change / base) for block, (change, base) in sums.items()}
    assert found.change == pytest.approx(expected, rel=1e-4)
    assert {"unet.down_blocks.0", "unet.mid_block", "unet.up_blocks.1"} <= set(found.change)
    assert (found.num_unchanged, found.dtype) == (0, "float32")
    assert found.num_layers == len(list(trainer.adapter.delta()))


def test_the_last_step_and_the_average(recipe, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(movement, "SAMPLE", 1 << 20)  # all weights
    start = assembled(recipe()).adapter.state()
    trainer, found, before = trained(recipe, "ema.decay=0.9", steps=3)
    now = nn.utils.parameters_to_vector(trainer.trainables.values()).detach()
    last = now - nn.utils.parameters_to_vector(before.values())
    first = nn.utils.parameters_to_vector(start.values())
    assert found.updated == pytest.approx((last != 0).float().mean().item())
    assert found.update == pytest.approx(last.square().mean().sqrt().item(), rel=1e-4)
    assert found.moved == pytest.approx((now != first).float().mean().item())
    spacing = torch.nextafter(now.abs(), torch.tensor(1e9)) - now.abs()
    assert found.spacing == pytest.approx(spacing[now != 0].median().item())
    average = found.average
    assert average is not None
    assert average.distance == pytest.approx((now - first).norm().item(), rel=1e-4)
    assert average.lag == pytest.approx(trainer.ema.distance(), rel=1e-4)
    assert (average.full_decay, average.full_after) == (0.9, 80)
    assert average.decay == pytest.approx(4 / 13)  # after three updates


def test_weights_that_nothing_moved(recipe):
    trainer = assembled(recipe())
    moves = Movement(trainer)
    moves.watch()
    found = moves.measure(0)
    assert (found.moved, found.updated, found.update) == (0, 0, 0)
    assert found.num_unchanged == found.num_layers > 0
    assert set(found.change.values()) == {0.0}


def test_a_full_fine_tune_is_measured_by_its_samples(recipe):
    trainer, found, _ = trained(recipe, "adapter.kind=full", "optimizer.learning_rate=1e-4")
    assert found.num_layers == len(trainer.trainables)
    start = dict(trainer.adapter.delta())
    weights = {name: p.detach() for name, p in trainer.trainables.items()}
    change = sum(float(d.square().sum()) for n, d in start.items() if "mid_block" in n)
    base = sum(float((weights[n] - d).square().sum()) for n, d in start.items() if "mid_block" in n)
    assert found.change["unet.mid_block"] == pytest.approx(math.sqrt(change / base), rel=0.1)


def test_the_spacing_of_bfloat16_is_that_of_bfloat16(recipe):
    trainer = assembled(recipe())
    for p in trainer.trainables.values():
        p.data = torch.full_like(p, 0.05, dtype=torch.bfloat16)
    found = Movement(trainer).measure(0)
    assert found.dtype == "bfloat16"
    assert found.spacing == 2**-5 * 2**-7  # 0.05 lies in [2^-5, 2^-4)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("unet.down_blocks.1.attentions.0.to_q", "unet.down_blocks.1"),
        ("unet.mid_block.resnets.0.conv1", "unet.mid_block"),
        ("unet.conv_in.weight", "unet.conv_in"),
        ("text_encoder_2.layers.3.mlp.fc1", "text_encoder_2"),
    ],
)
def test_blocks(name: str, block: str):
    assert block_of(name) == block
