"""Files written tensor by tensor are what safetensors itself writes and reads."""

import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from workbench.store import LazyTensor, stream_tensors

TENSORS = {
    "b": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "ids": torch.arange(77)[None],
    "half": torch.randn(3, 1, generator=torch.Generator().manual_seed(0)).half(),
    "brain": torch.tensor([1.5, -0.0]).bfloat16(),
    "empty": torch.tensor([]),
    "one": torch.tensor(2.5),
    "turned": torch.arange(6.0).reshape(2, 3).T,
}


def lazy(dtype: torch.dtype | None = None) -> dict[str, LazyTensor]:
    return {name: LazyTensor.of(tensor, dtype) for name, tensor in TENSORS.items()}


def test_the_bytes_are_those_of_safetensors(tmp_path: Path) -> None:
    stream_tensors(tmp_path / "ours", lazy(), {"format": "pt", "said": "grüße"})
    whole = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    save_file(whole, tmp_path / "theirs", metadata={"format": "pt", "said": "grüße"})
    ours, theirs = load_file(tmp_path / "ours"), load_file(tmp_path / "theirs")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor), name
    with safe_open(tmp_path / "ours", "pt") as file:
        assert file.metadata() == {"format": "pt", "said": "grüße"}
    start = 8 + int.from_bytes((tmp_path / "ours").read_bytes()[:8], "little")
    other = 8 + int.from_bytes((tmp_path / "theirs").read_bytes()[:8], "little")
    assert start % 8 == 0
    assert (tmp_path / "ours").read_bytes()[start:] == (tmp_path / "theirs").read_bytes()[other:]


def test_fractions_are_cast_and_whole_numbers_are_not(tmp_path: Path) -> None:
    found = load_file(stream_tensors(tmp_path / "x", lazy(torch.float16)))
    assert found["ids"].dtype == torch.int64
    assert {t.dtype for n, t in found.items() if n != "ids"} == {torch.float16}
    assert torch.equal(found["b"], TENSORS["b"].half())


def test_one_tensor_at_a_time_is_in_memory(tmp_path: Path) -> None:
    """numpy's allocations are traced, so the tensors of this file are made by numpy."""
    import numpy as np

    side, count = 256, 20
    big = {
        f"{k:02d}": LazyTensor(
            torch.float32,
            (side, side),
            lambda k=k: torch.from_numpy(np.full((side, side), k, "f4")),
        )
        for k in range(count)
    }
    tracemalloc.start()
    stream_tensors(tmp_path / "x", big)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 4 * side**2
    assert load_file(tmp_path / "x")["07"].eq(7).all()


def test_nothing_is_left_where_a_tensor_fails(tmp_path: Path) -> None:
    def fail() -> torch.Tensor:
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        stream_tensors(tmp_path / "x", {"a": LazyTensor(torch.float32, (1,), fail)})
    assert list(tmp_path.iterdir()) == []
