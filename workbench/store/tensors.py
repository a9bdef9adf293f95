"""Safetensors files: checked before they are read, written atomically; pickles are never opened."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
    from safetensors.torch import save_file

    seen: set[int] = set()
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    with replacing(Path(path)) as temporary:
        save_file(plain, temporary, metadata=metadata)
        sync(temporary)
    return Path(path)


def load_tensors(path: str | Path) -> dict[str, "torch.Tensor"]:
    """Read all tensors of a safetensors file onto the CPU.

    Args:
        path: a .safetensors file.
    Returns:
        Name to tensor.
    Raises:
        FileRefused: a pickle, missing, damaged, or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _refuse_others(Path(path))
    try:
        return load_file(path)
    except OSError as error:
        raise FileRefused(f"{shown(path)}: {why_unreadable(error)}") from None
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
    return (
        f"{shown(path)}: not a sound safetensors file ({error}); it is cut short or altered: "
        "download or save it again"
    )
