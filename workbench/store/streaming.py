"""Safetensors files written tensor by tensor: a model is saved without a second copy of it."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.store.files import replacing

if TYPE_CHECKING:
    import torch

__all__ = ["LazyTensor", "raw_bytes", "stored_tensors", "stream_tensors"]

_CODES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_ALIGNMENT_BYTES = 8  # of the first tensor; readers map the file into memory


@dataclass(frozen=True, slots=True)
class LazyTensor:
    """A tensor of a file to be written, made when its turn comes.

    Attributes:
        dtype: in the file.
        shape: likewise.
        make: gives the values, on any device and in any type.
    """

    dtype: "torch.dtype"
    shape: tuple[int, ...]
    make: "Callable[[], torch.Tensor]"

    @classmethod
    def of(cls, tensor: "torch.Tensor", dtype: "torch.dtype | None" = None) -> "LazyTensor":
        """A tensor that is there already.

        Args:
            tensor: of any device; numbers that are no fractions keep their type.
            dtype: of fractions in the file; None keeps theirs.
        Returns:
            The lazy tensor; nothing is copied.
        """
        chosen = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return cls(chosen, tuple(tensor.shape), lambda: tensor)

    @property
    def num_bytes(self) -> int:
        """Size in the file."""
        count = self.dtype.itemsize
        for side in self.shape:
            count *= side
        return count


def stored_tensors(tensors: Mapping[str, LazyTensor]) -> "Iterator[tuple[str, torch.Tensor]]":
    """Make tensors one after the other, as and in the order in which a file holds them.

    Args:
        tensors: name to what is to be written.
    Yields:
        Name and tensor on the CPU, contiguous.
    """
    for name in _in_order(tensors):
        wanted = tensors[name]
        tensor = wanted.make().detach().to("cpu", wanted.dtype).contiguous()
        assert tuple(tensor.shape) == wanted.shape, f"{name}: {tensor.shape} for {wanted.shape}"
        yield name, tensor


def stream_tensors(
    path: str | Path, tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a safetensors file atomically, with one of its tensors in memory at a time.

    Args:
        path: where.
        tensors: name to what is to be written.
        metadata: string pairs for the file's header.
    Returns:
        The path.
    Raises:
        OSError: the disk is full or the folder not writable; nothing is left.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in _in_order(tensors):
        wanted, start = tensors[name], end
        end += wanted.num_bytes
        header[name] = {
            "dtype": _CODES[str(wanted.dtype).removeprefix("torch.")],
            "shape": list(wanted.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    with replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, tensor in stored_tensors(tensors):
            file.write(raw_bytes(tensor))
        file.flush()
        os.fsync(file.fileno())
    return Path(path)


def raw_bytes(tensor: "torch.Tensor") -> memoryview:
    """The bytes of a tensor's values.

    Args:
        tensor: contiguous, on the CPU.
    Returns:
        A view of its memory.
    """
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _in_order(tensors: Mapping[str, LazyTensor]) -> list[str]:
    """Wide types first, so that every tensor begins at a multiple of its own size."""
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
