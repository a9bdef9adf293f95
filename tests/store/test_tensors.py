"""Safetensors that lie about themselves, and pickles, are refused."""

import json
import pickle
import struct

import numpy
import pytest
import safetensors.numpy
import torch

from workbench import store


def raw(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(begin, end):
    return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]}


def test_round_trip_agrees_with_another_reader(tmp_path):
    big = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": big, "view": big[1], "columns": big.T, "half": big.half(), "empty": big[:0]}
    path = store.save_tensors(tmp_path / "x" / "a.safetensors", tensors, {"k": "v\n'é"})
    read = store.load_tensors(path)
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    assert numpy.array_equal(safetensors.numpy.load_file(path)["columns"], big.T.numpy())
    metadata, shapes = store.read_header(path)
    assert metadata == {"k": "v\n'é"}
    assert shapes["half"] == ("F16", (3, 4))
    assert shapes["columns"] == ("F32", (4, 3))


def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = store.save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)})

    def fail(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        store.save_tensors(path, {"a": torch.zeros(2)})
    assert torch.equal(store.load_tensors(path)["a"], torch.ones(2))
    assert len(list(tmp_path.iterdir())) == 1


DAMAGED = {
    "overlapping offsets": lambda p: raw(p, {"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    "trailing bytes": lambda p: raw(p, {"a": entry(0, 8)}, bytes(9)),
    "cut short": lambda p: raw(p, {"a": entry(0, 8)}, bytes(7)),
    "wrong shape": lambda p: raw(p, {"a": {**entry(0, 8), "shape": [3]}}, bytes(8)),
    "unknown dtype": lambda p: raw(p, {"a": {**entry(0, 8), "dtype": "F33"}}, bytes(8)),
    "no JSON": lambda p: raw(p, b"x" * 20),
    "metadata of numbers": lambda p: raw(p, {"__metadata__": {"a": 1}}),
    "pickle in disguise": lambda p: p.write_bytes(pickle.dumps({"a": list(range(99))})),
    "empty": lambda p: p.write_bytes(b""),
    "seven bytes": lambda p: p.write_bytes(bytes(7)),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("read", [store.load_tensors, store.read_header])
def test_damaged_file_is_refused_by_name(tmp_path, damage, read):
    path = tmp_path / "a.safetensors"
    damage(path)
    with pytest.raises(store.FileRefused, match=r"a\.safetensors: not a sound safetensors file"):
        read(path)


def test_header_of_200_mb_is_refused_unread(tmp_path):
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(200_000_100)  # sparse: it takes no space
    with pytest.raises(store.FileRefused, match=r"(?i)header ?too ?large"):
        store.read_header(path)


@pytest.mark.parametrize("extension", [".ckpt", ".pt", ".pth", ".bin", ".PKL"])
@pytest.mark.parametrize("read", [store.load_tensors, store.read_header])
def test_pickles_are_never_opened(tmp_path, extension, read):
    with pytest.raises(store.FileRefused, match=r"pickles, which run code.*convert"):
        read(tmp_path / f"not-even-there{extension}")


@pytest.mark.parametrize("read", [store.load_tensors, store.read_header])
def test_missing_file_and_folder(tmp_path, read):
    with pytest.raises(store.FileRefused, match="no such file"):
        read(tmp_path / "a.safetensors")
    with pytest.raises(store.FileRefused, match="is a folder; name a"):
        read(tmp_path)
