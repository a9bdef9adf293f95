"""Adapter files in kohya's and LyCORIS' format, with hashes that tell what was altered."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from workbench.adapters.decompose import of_outputs
from workbench.adapters.layers import Kronecker, Layer, LowRank, tensors
from workbench.store import (
    FileRefused,
    LazyTensor,
    load_tensors,
    raw_bytes,
    read_header,
    save_tensors,
    stored_tensors,
)

NameOf = Callable[[str, str], str]  # (part, path of a module) -> its name in LoRA files
HASHES = "workbench.layer_hashes"
_SUFFIX = re.compile(
    r"\.(lora_(up|down|mid|A|B)(\.weight)?|lora_magnitude_vector|alpha|dora_scale"
    r"|hada_(w[12]_[ab]|t[12])|lokr_(w[12](_[ab])?|t2))$"
)
_FULL_PRECISION = ("alpha", "dora_scale")  # fp16 magnitudes cost up to 1.8 % of dW
_LEGACY_START, _LEGACY_LENGTH = 0x100000, 0x10000


def write_layers(
    path: Path, layers: Mapping[str, Layer], *, dtype: torch.dtype, metadata: Mapping[str, str]
) -> Path:
    """Write layers as a file in kohya's and LyCORIS' format with its hashes.

    Args:
        path: a .safetensors path.
        layers: name in the file to layer.
        dtype: type of the matrices; alpha and DoRA's lengths are fp32.
        metadata: string pairs; what the layers themselves say (rank, alpha, hashes) is added.
    Returns:
        The path.
    Raises:
        ValueError: a weight is NaN or infinite, or becomes so in `dtype`.
    """
    stored = {
        f"{name}.{suffix}": tensor.to("cpu", tensor.dtype if suffix in _FULL_PRECISION else dtype)
        for name, layer in layers.items()
        for suffix, tensor in tensors(layer).items()
    }
    return write_hashed(path, stored, _network(layers) | dict(metadata))


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
        raise _not_finite(path, bad)
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


def lazy_hashes(tensors: Mapping[str, LazyTensor], *, path: Path) -> dict[str, str]:
    """The hashes of a file of whole weights, made one tensor at a time before it is written.

    Args:
        tensors: name to what is to be written.
        path: of the file to be, for errors.
    Returns:
        Metadata: a hash for each tensor, as `altered_layers` checks it, and one of all.
    Raises:
        ValueError: a tensor is NaN or infinite.
    """
    content, digests, bad = hashlib.sha256(), {}, []
    for name, tensor in stored_tensors(tensors):
        if not tensor.isfinite().all():
            bad.append(name)
        digests |= layer_hashes({name: tensor})
        content.update(raw_bytes(tensor))
    if bad:
        raise _not_finite(path, bad)
    listed = json.dumps(dict(sorted(digests.items())), separators=(",", ":"))
    return {HASHES: listed, "modelspec.hash_sha256": f"0x{content.hexdigest()}"}


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
        raise FileRefused(
            f"{path}: no recorded hashes ({HASHES}), so nothing to check against: another "
            "program wrote it; `workbench inspect` and `workbench compare` read it"
        )
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


def _not_finite(path: Path, names: list[str]) -> ValueError:
    return ValueError(
        f"{path}: {len(names)} tensors are NaN or infinite, so nothing was written: "
        f"{', '.join(names[:5])}; save as bfloat16 or float32 if float16 overflowed"
    )


def _network(layers: Mapping[str, Layer]) -> dict[str, str]:
    """Method, rank and alpha as UIs show them: of most layers; those of 3x3 convolutions apart."""
    wide = [x for x in layers.values() if _is_wide(x)]
    flat = [x for x in layers.values() if not _is_wide(x)]
    (rank, alpha), _ = Counter((x.rank, x.alpha) for x in flat or wide).most_common(1)[0]
    first = next(iter(layers.values()))
    args: dict[str, str] = {}
    if first.kind != "lora" or first.magnitude is not None:
        args["algo"] = "locon" if first.kind == "lora" else first.kind
    if first.magnitude is not None:
        args |= {"dora_wd": "True", "wd_on_output": str(of_outputs(first.magnitude))}
    if wide:
        (conv_rank, conv_alpha), _ = Counter((x.rank, x.alpha) for x in wide).most_common(1)[0]
        args |= {"conv_dim": str(conv_rank), "conv_alpha": str(conv_alpha)}
    return {
        "ss_network_module": "lycoris.kohya" if "algo" in args else "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_network_args": json.dumps(args),
    }


def _is_wide(layer: Layer) -> bool:
    """Whether a layer is known to be a convolution wider than 1x1."""
    if isinstance(layer, LowRank):
        return layer.down.dim() == 4 and layer.down.shape[-1] > 1
    if isinstance(layer, Kronecker) and layer.w2 is not None:
        return layer.w2.dim() == 4 and layer.w2.shape[-1] > 1
    return False
