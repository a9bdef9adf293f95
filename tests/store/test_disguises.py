"""Files under the name of a safetensors file that are none: named as what they are."""

import json
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from workbench.store import FileRefused, load_tensors, read_header

STARTS = {
    "a web page": b"<!DOCTYPE html><html>login</html>",
    "a web page ": b"\xef\xbb\xbf\n<html><body>404</body></html>",
    "a git-LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "a pickle": b"\x80\x02}q\x00.",
    "a GGUF file": b"GGUF\x03\x00\x00\x00" + b"\x00" * 64,
    "packed by gzip": b"\x1f\x8b\x08\x00" + b"\x00" * 16,
    "a PNG picture": b"\x89PNG\r\n\x1a\n" + b"\x00" * 16,
    "text": b'{"error": "unauthorized"}',
    "it is empty": b"",
}


def refused(path: Path, what: str) -> str:
    for look in (read_header, load_tensors):
        with pytest.raises(FileRefused, match=what) as caught:
            look(path)
        assert str(caught.value).startswith(f"{path}: not a sound safetensors file: ")
    return str(caught.value)


@pytest.mark.parametrize("what", STARTS)
def test_first_bytes_tell(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(STARTS[what])
    refused(path, what.strip())


def test_a_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"x")
    refused(path, "a ZIP archive")


def written(path: Path, header: dict[str, object], data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_metadata_that_is_no_text(tmp_path: Path) -> None:
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = {"__metadata__": {"good": "yes", "ss_network_dim": 8}, "x": tensor}
    path = written(tmp_path / "x.safetensors", header, b"\0" * 4)
    refused(path, "its metadata 'ss_network_dim' is 8 and must be a text")


def test_a_file_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1500])
    refused(path, "its last 1,500 bytes are missing")
    path.write_bytes(whole[:20])
    refused(path, r"its header of \d+ bytes is cut short, the file ends at 20 bytes")
