"""LoRA files in kohya's format, with hashes that tell later which layer was altered."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from workbench.adapters.layers import Layer
from workbench.store import FileRefused, load_tensors, read_header, save_tensors

NameOf = Callable[[str, str], str]  # (part, path of a module) -> its name in LoRA files
HASHES = "workbench.layer_hashes"
_SUFFIX = re.compile(r"\.(lora_(up|down|mid|A|B)(\.weight)?|alpha|dora_scale)$")
_LEGACY_START, _LEGACY_LENGTH = 0x100000, 0x10000


def write_layers(
    path: Path, layers: Mapping[str, Layer], *, dtype: torch.dtype, metadata: Mapping[str, str]
) -> Path:
    """Write layers as a kohya-format file with its hashes.

    Args:
        path: a .safetensors path.
        layers: name in the file to layer.
        dtype: type of the two matrices; alpha is fp32.
        metadata: string pairs; what the layers themselves say (rank, alpha, hashes) is added.
    Returns:
        The path.
    Raises:
        ValueError: a weight is NaN or infinite, or becomes so in `dtype`.
    """
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        tensors[f"{name}.lora_down.weight"] = layer.down.to("cpu", dtype)
        tensors[f"{name}.lora_up.weight"] = layer.up.to("cpu", dtype)
        tensors[f"{name}.alpha"] = torch.tensor(layer.alpha, dtype=torch.float32)
    return write_hashed(path, tensors, _network(layers) | dict(metadata))


def write_hashed(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file that records the hashes of its own content.

    Args:
        path: a .safetensors path.
        tensors: name to tensor on the CPU.
        metadata: string pairs.
    Returns:
        The path.
    Raises:
        ValueError: a tensor is NaN or infinite.
    """
    if bad := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ValueError(
            f"{path}: {len(bad)} tensors are NaN or infinite, so nothing was written: "
            f"{', '.join(bad[:5])}; save as bfloat16 or float32 if float16 overflowed"
        )
    hashes = {HASHES: json.dumps(layer_hashes(tensors), separators=(",", ":"))}
    return save_tensors(path, tensors, {**metadata, **content_hashes(tensors, metadata), **hashes})


def layer_hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """A hash for each layer, over its tensors' names, types, shapes and bytes.

    Args:
        tensors: name to tensor.
    Returns:
        Layer to 16 hex digits of SHA-256.
    """
    digests: dict[str, hashlib._Hash] = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        digest = digests.setdefault(_SUFFIX.sub("", name), hashlib.sha256())
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(data.numpy().data)
    return {layer: digest.hexdigest()[:16] for layer, digest in digests.items()}


def altered_layers(path: str | Path) -> tuple[str, ...]:
    """Check a file against the hashes that it recorded when it was written.

    Args:
        path: a .safetensors file that this package wrote.
    Returns:
        Layers that were altered, added or removed since; empty when the file is as written.
    Raises:
        FileRefused: the file is unreadable or has no recorded hashes.
    """
    recorded = read_header(path)[0].get(HASHES)
    if recorded is None:
        raise FileRefused(f"{path}: no recorded hashes ({HASHES}), so nothing to check against")
    before = dict(json.loads(recorded))
    now = layer_hashes(load_tensors(path))
    return tuple(n for n in sorted(before | now) if before.get(n) != now.get(n))


def content_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The hashes by which user interfaces know a LoRA.

    Args:
        tensors: name to tensor.
        metadata: of the file; only ss_* entries enter the legacy hash.
    Returns:
        sshs_model_hash (bytes after the header), sshs_legacy_hash (64 KiB at 1 MiB of the file
        with only ss_* metadata) and modelspec.hash_sha256.
    Source: kohya sd-scripts, `precalculate_safetensors_hashes`.
    """
    from safetensors.torch import save

    training = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    blob = memoryview(save(plain, training))
    content = hashlib.sha256(blob[8 + int.from_bytes(blob[:8], "little") :]).hexdigest()
    legacy = hashlib.sha256(blob[_LEGACY_START : _LEGACY_START + _LEGACY_LENGTH]).hexdigest()
    return {
        "sshs_model_hash": content,
        "sshs_legacy_hash": legacy[:8],
        "modelspec.hash_sha256": f"0x{content}",
    }


def _network(layers: Mapping[str, Layer]) -> dict[str, str]:
    """Rank and alpha as UIs show them: of most layers; those of 3x3 convolutions apart."""
    wide = [x for x in layers.values() if x.down.dim() == 4 and x.down.shape[-1] > 1]
    flat = [x for x in layers.values() if x.down.dim() == 2 or x.down.shape[-1] == 1]
    (rank, alpha), _ = Counter((x.rank, x.alpha) for x in flat or wide).most_common(1)[0]
    args: dict[str, str] = {}
    if wide:
        (conv_rank, conv_alpha), _ = Counter((x.rank, x.alpha) for x in wide).most_common(1)[0]
        args = {"conv_dim": str(conv_rank), "conv_alpha": str(conv_alpha)}
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_network_args": json.dumps(args),
    }
