"""Any adapter as a plain LoRA: the nearest one, and the loss that is told is the true one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import TARGETS, answer, learn, name_of, parts

from workbench.adapters import LoHa, LoKr, LoRA, attach_file, read, write
from workbench.adapters.reduce import nearest, reduce


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (10, 4, 3, 3)])
def test_it_is_the_truncated_singular_value_decomposition(shape: tuple[int, ...]) -> None:
    delta = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = np.linalg.svd(delta.flatten(1).double().numpy(), full_matrices=False)
    for rank in (1, 3, 99):
        layer, error = nearest(delta, rank)
        kept = (left[:, :rank] * values[:rank]) @ right[:rank]
        assert np.allclose(layer.delta().flatten(1).numpy(), kept, atol=1e-5)
        lost = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
        assert error == pytest.approx(lost, abs=1e-6)
        assert layer.rank == min(rank, *delta.flatten(1).shape) and layer.scale == 1
        assert layer.down.shape[1:] == shape[1:]


def test_directions_that_are_not_there_stay_zero() -> None:
    delta = torch.outer(torch.arange(5.0), torch.ones(6))
    layer, error = nearest(delta, 4)
    assert error < 1e-6
    assert layer.down.abs().max() < 100 and layer.up.abs().max() < 100
    zero, error = nearest(torch.zeros(5, 6), 2)
    assert error == 0 and not zero.delta().any() and zero.down.isfinite().all()


@pytest.mark.parametrize("to", ["kohya", "peft"])
@pytest.mark.parametrize(
    "settings",
    [
        LoRA(rank=4, alpha=2.5, groups=("attention", "conv"), dora=True, text_encoder=True),
        LoHa(rank=2, alpha=1.5, groups=("attention", "conv")),
        LoKr(rank=2, factor=4, groups=("attention", "conv")),
    ],
    ids=lambda s: s.kind,
)
def test_every_method_has_a_plain_form(settings, to: str, tmp_path: Path) -> None:
    models = parts()
    adapter = settings.attach(models, TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, 0.05)
    path = write(
        tmp_path / "x.safetensors",
        adapter,
        name_of=name_of,
        dtype=torch.float32,
        metadata={"ss_seed": "1", "ss_network_module": "lycoris.kohya"},
    )
    whole, few = tmp_path / "whole.safetensors", tmp_path / "few.safetensors"
    fresh = parts()
    errors = reduce(path, whole, rank=999, to=to, parts=fresh, name_of=name_of)
    assert max(errors.values()) < 1e-4 and errors.keys() == adapter.layers().keys()
    assert {layer.kind for layer in read(whole).layers.values()} == {"lora"}
    assert read(whole).metadata["ss_seed"] == "1"
    attach_file(whole, fresh, name_of=name_of)
    assert torch.allclose(answer(fresh), answer(models), atol=1e-3)
    errors = reduce(path, few, rank=2, to=to, parts=parts(), name_of=name_of)
    deltas = dict(adapter.delta())
    for name, layer in read(few).layers.items():
        part, path_of = name.split(".", 1) if to == "peft" else ("", "")
        key = f"{part}.{path_of.removeprefix('text_model.')}" if to == "peft" else None
        key = key or next(k for k in deltas if name_of(*k.split(".", 1)) == name)
        lost = (layer.delta() - deltas[key]).norm() / deltas[key].norm()
        assert float(lost) == pytest.approx(errors[key], abs=1e-4)
