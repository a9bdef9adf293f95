"""Hashes of LoRA files, against a second implementation, and what they notice."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.adapters.kohya import altered_layers, write_layers
from workbench.adapters.layers import LowRank
from workbench.store import FileRefused, read_header


def layers(rank: int = 4, width: int = 8) -> dict[str, LowRank]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"lora_unet_a": ((rank, width), (width, rank))}
    shapes["lora_unet_b"] = ((2, width, 3, 3), (width, 2, 1, 1))
    return {
        name: LowRank(torch.randn(down, generator=draw), torch.randn(up, generator=draw), 1.5)
        for name, (down, up) in shapes.items()
    }


def by_hand(path: Path) -> dict[str, str]:
    """The hashes from the bytes of the file alone: header and tensors taken apart with struct."""
    blob = path.read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    data = blob[8 + length :]
    metadata = {k: v for k, v in header.pop("__metadata__").items() if k.startswith("ss_")}
    only = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":")).encode()
    only += b" " * (-len(only) % 8)
    rewritten = struct.pack("<Q", len(only)) + only + data
    content = hashlib.sha256(data).hexdigest()
    return {
        "sshs_model_hash": content,
        "sshs_legacy_hash": hashlib.sha256(rewritten[0x100000:0x110000]).hexdigest()[:8],
        "modelspec.hash_sha256": "0x" + content,
    }


@pytest.mark.parametrize("width", [8, 40_000])
def test_hashes_are_those_that_user_interfaces_compute(tmp_path: Path, width: int) -> None:
    """The wide one is larger than 1 MiB, where the legacy hash begins."""
    path = tmp_path / "x.safetensors"
    wide = {"lora_unet_a": layers(width=width)["lora_unet_a"]}
    metadata = {"ss_seed": "1", "modelspec.title": "not in the legacy hash"}
    write_layers(path, wide, dtype=torch.float32, metadata=metadata)
    assert (path.stat().st_size > 0x110000) == (width > 8)
    recorded = read_header(path)[0]
    assert by_hand(path).items() <= recorded.items()


def test_rank_and_alpha_are_recorded_for_user_interfaces(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_layers(path, layers(), dtype=torch.float16, metadata={})
    metadata = read_header(path)[0]
    assert metadata["ss_network_module"] == "networks.lora"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "1.5")
    assert json.loads(metadata["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1.5"}
    assert all(isinstance(value, str) for value in metadata.values())


@pytest.mark.parametrize("change", ["value", "type", "alpha", "removed", "added"])
def test_an_altered_layer_is_named(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.safetensors"
    write_layers(path, layers(), dtype=torch.float16, metadata={})
    assert altered_layers(path) == ()
    tensors, metadata = load_file(path), read_header(path)[0]
    up = "lora_unet_b.lora_up.weight"
    if change == "value":
        tensors[up][0, 0] += 0.01
    elif change == "type":
        tensors[up] = tensors[up].float()
    elif change == "alpha":
        tensors["lora_unet_b.alpha"] += 1
    elif change == "removed":
        tensors = {n: t for n, t in tensors.items() if not n.startswith("lora_unet_b")}
    else:
        tensors["lora_unet_b.dora_scale"] = torch.ones(8, 1)
    save_file(tensors, path, metadata=metadata)
    assert altered_layers(path) == ("lora_unet_b",)


def test_files_of_others_have_nothing_to_check_against(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(FileRefused, match="no recorded hashes"):
        altered_layers(path)
