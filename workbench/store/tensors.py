"""Safetensors files: checked before they are read, written atomically; pickles are never opened."""

import errno
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.store.disguises import disguise
from workbench.store.files import FileRefused, replacing, shown, sync, why_unreadable

if TYPE_CHECKING:
    import torch

PICKLE_EXTENSIONS = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})


def save_tensors(
    path: str | Path, tensors: Mapping[str, "torch.Tensor"], metadata: dict[str, str] | None = None
) -> Path:
    """Write a safetensors file atomically.

    Args:
        path: where.
        tensors: name to tensor; made contiguous, moved to the CPU, shared storage cloned.
        metadata: string pairs for the file's header.
    Returns:
        The path.
    """
    with replacing(Path(path)) as temporary:
        write_tensors(temporary, tensors, metadata)
    return Path(path)


def write_tensors(
    path: Path, tensors: Mapping[str, "torch.Tensor"], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file in place and flush it; a crash may leave a part of it.

    Args:
        path: where.
        tensors: name to tensor; see `save_tensors`.
        metadata: likewise.
    Raises:
        OSError: the disk is full or gone, with the system's own number.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    seen: set[int] = set()
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    try:
        save_file(plain, path, metadata=metadata)
    except SafetensorError as error:  # it wraps the system's error and drops its number
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        # The fourth argument is Windows' own number; elsewhere it is ignored.
        raise OSError(code, str(error), str(path), code) from error
    sync(path)


def load_tensors(
    path: str | Path, names: Collection[str] | None = None
) -> dict[str, "torch.Tensor"]:
    """Read tensors of a safetensors file onto the CPU.

    Args:
        path: a .safetensors file.
        names: which; None reads all.
    Returns:
        Name to tensor.
    Raises:
        FileRefused: a pickle, missing, damaged, or not safetensors.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    _refuse_others(Path(path))
    try:
        if names is None:
            return load_file(path)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise FileRefused(f"{shown(path)}: {why_unreadable(error)}") from None
    except KeyError as error:  # a type of numbers that torch does not have
        raise FileRefused(
            f"{shown(path)}: its numbers are of type {error}, which torch does not know; save it "
            "in float16, bfloat16 or float32"
        ) from None
    except SafetensorError as error:
        raise FileRefused(_damaged(path, error)) from None


def read_header(
    path: str | Path,
) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    """Read what a safetensors file says it holds, without its tensors.

    Args:
        path: a .safetensors file.
    Returns:
        Metadata, and tensor name to (dtype, shape).
    Raises:
        FileRefused: a pickle, missing, damaged, or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    _refuse_others(Path(path))
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
            return dict(file.metadata() or {}), shapes
    except OSError as error:
        raise FileRefused(f"{shown(path)}: {why_unreadable(error)}") from None
    except SafetensorError as error:
        raise FileRefused(_damaged(path, error)) from None


def _refuse_others(path: Path) -> None:
    if path.is_dir():
        raise FileRefused(f"{shown(path)}: is a folder; name a .safetensors file")
    if path.is_symlink() and not path.exists():
        raise FileRefused(
            f"{shown(path)}: is a link to {shown(path.readlink())}, which is not there; copy the "
            "file itself, or fetch it again"
        )
    if path.suffix.lower() in PICKLE_EXTENSIONS:
        raise FileRefused(
            f"{shown(path)}: {path.suffix} files are pickles, which run code when opened; "
            "only .safetensors is read, so convert the file where you trust it"
        )


def _damaged(path: str | Path, error: Exception) -> str:
    if said := disguise(Path(path)):
        return f"{shown(path)}: not a sound safetensors file: {said}"
    return (
        f"{shown(path)}: not a sound safetensors file ({error}); it is cut short or altered: "
        "download or save it again"
    )
