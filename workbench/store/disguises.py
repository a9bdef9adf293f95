"""What a file is that bears the name of a safetensors file and is none."""

import json
import struct
from pathlib import Path

_LENGTH = 8  # bytes that give the header's length
_LARGEST_HEADER = 100_000_000  # of the safetensors format
# First bytes, what they are, and what to do.
_STARTS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "a git-LFS pointer, the note that stands for the file in a repository; fetch the file "
        "itself (git lfs pull, or the download link of its page)",
    ),
    (
        b"PK\x03\x04",
        "a ZIP archive: a .ckpt or .pt file under another name, or one that must be unpacked; "
        "unpack it, or convert a pickle to safetensors where you trust it",
    ),
    (b"\x80\x02", "a pickle under another name, which runs code when opened; convert it to "
     "safetensors where you trust it"),
    (b"GGUF", "a GGUF file, quantised for another program; take the .safetensors of the model"),
    (b"\x1f\x8b", "packed by gzip; unpack it"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it"),
    (b"Rar!", "a RAR archive; unpack it"),
    (b"\x89PNG", "a PNG picture; download the model, not its preview"),
    (b"\xff\xd8\xff", "a JPEG picture; download the model, not its preview"),
    (b"RIFF", "a WebP picture; download the model, not its preview"),
)  # fmt: skip
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")


def disguise(path: Path) -> str | None:
    """Say what a file is that does not read as safetensors.

    Args:
        path: an existing file.
    Returns:
        What it is and what to do; None where its first bytes and header tell nothing.
    """
    size = path.stat().st_size
    if size == 0:
        return "it is empty; download or save it again"
    with path.open("rb") as file:
        start = file.read(512)
        if said := _by_start(start):
            return said
        if size < _LENGTH:
            return None
        (length,) = struct.unpack("<Q", start[:_LENGTH])
        if length > _LARGEST_HEADER:
            return None
        file.seek(_LENGTH)
        header = file.read(length)
    return _by_header(header, length, size)


def _by_start(start: bytes) -> str | None:
    if found := next((said for mark, said in _STARTS if start.startswith(mark)), None):
        return found
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(_PAGES):
        return (
            "a web page (HTML), saved in place of the download: a login or an error page; "
            "download the file again, signed in where the site asks for it"
        )
    if text.startswith((b"{", b"[")):
        return "text (JSON), such as an error message or a configuration; download the file again"
    return None


def _by_header(header: bytes, length: int, size: int) -> str | None:
    if len(header) < length:
        return (
            f"its header of {length:,} bytes is cut short, the file ends at {size:,} bytes; "
            "download it again"
        )
    try:
        fields = json.loads(header)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        return "its metadata is no table; save it again with a table of texts as metadata"
    if wrong := [key for key, value in metadata.items() if not isinstance(value, str)]:
        return (
            f"its metadata {wrong[0]!r} is {json.dumps(metadata[wrong[0]])[:40]} and must be a "
            "text, as all metadata in this format, so no program reads it; save it again with "
            "every value as a text"
        )
    try:
        end = max((int(field["data_offsets"][1]) for field in fields.values()), default=0)
    except (TypeError, KeyError, IndexError, ValueError):
        return None
    if (missing := end + _LENGTH + length - size) > 0:
        return f"its last {missing:,} bytes are missing (cut short); download it again"
    return None
