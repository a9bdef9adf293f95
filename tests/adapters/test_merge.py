"""Merging is the forward pass's change, added to the weights; rounding is measured."""

from pathlib import Path

import pytest
import torch
from small_models import ALL_GROUPS, TARGETS, answer, learn, name_of, parts

from workbench.adapters import LoRA, attach_file, write
from workbench.adapters.merge import merge


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = LoRA(rank=4, alpha=2.5, groups=ALL_GROUPS, text_encoder=True)
    adapter = settings.attach(parts(), TARGETS, generator=torch.Generator().manual_seed(0))
    learn(adapter.trainables, 0.02)
    target = tmp_path_factory.mktemp("merge") / "x.safetensors"
    return write(target, adapter, name_of=name_of, dtype=torch.float32, metadata={})


@pytest.mark.parametrize("strength", [1.0, -0.7])
def test_merged_answers_as_the_adapter_does_in_fp64(path: Path, strength: float) -> None:
    applied, merged = ({k: m.double() for k, m in parts().items()} for _ in range(2))
    adapter = attach_file(path, applied, name_of=name_of)
    for p in adapter.trainables.values():
        p.data = p.data.double()
    with adapter.strength(strength):
        expected = answer(applied)
    report = merge(merged, path, strength, name_of=name_of)
    assert (answer(merged) - expected).abs().max() < 1e-12
    assert report.note is None and max(report.rounding.values()) < 1e-10
    assert len(report.rounding) == len(adapter.layers())


def test_low_precision_weights_lose_part_of_it_and_the_report_says_so(path: Path) -> None:
    models = {k: m.to(torch.bfloat16) for k, m in parts().items()}
    report = merge(models, path, name_of=name_of)
    assert report.note is not None and "into bfloat16 lost up to" in report.note
    assert max(report.rounding.values()) > 0.01
    fp32 = merge(parts(), path, name_of=name_of)
    assert max(fp32.rounding.values()) < 1e-4 and fp32.note is None
