"""What a file is by its first bytes, whatever its name says, and what to do about it."""

from typing import IO

# Names under which pictures come; the content decides which decoder reads them.
IMAGE_EXTENSIONS = frozenset(
    {
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".pjpeg", ".pjp"),
        *(".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
        *(".heic", ".heif", ".heics", ".heifs", ".hif", ".avif", ".avifs"),
    }
)
_AS_PNG = "save it as PNG or JPEG"
_RAW = "a camera's raw file; develop it and save it as JPEG or TIFF"
RAW_EXTENSIONS = frozenset(
    {
        *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf"),
        *(".raf", ".orf", ".rw2", ".pef", ".srw", ".3fr", ".iiq", ".x3f"),
    }
)
# Pictures that no decoder here reads: set aside by name, never mistaken for something else.
UNREAD_EXTENSIONS = {
    **dict.fromkeys((".jxl",), f"JPEG XL is not read; {_AS_PNG}"),
    **dict.fromkeys((".jp2", ".j2k", ".jpx", ".jpf"), f"JPEG 2000 is not read; {_AS_PNG}"),
    **dict.fromkeys((".tga", ".ico", ".icns", ".pcx"), f"this format is not read; {_AS_PNG}"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".dds"), f"this format is not read; {_AS_PNG}"),
    **dict.fromkeys((".jxr", ".wdp", ".exr", ".hdr"), f"an HDR format that is not read; {_AS_PNG}"),
    **dict.fromkeys(RAW_EXTENSIONS, _RAW),
}  # fmt: skip
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2")
AVIF_BRANDS = (b"avif", b"avis")
_DRAWING = "a drawing or page; save it as PNG"
_HEIC = (
    "no decoder for HEIC is installed: install one (pip install pi-heif), or save it as PNG or JPEG"
)
_AVIF = f"this Pillow has no decoder for AVIF; update Pillow, or {_AS_PNG}"
# First bytes of what is often found under a picture's name.
_KNOWN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the picture; fetch it: git lfs pull"),
    (b"\x00\x05\x16\x07", "a leftover of macOS (AppleDouble), not the picture; delete it"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"\xff\x0a", UNREAD_EXTENSIONS[".jxl"]),
    (b"\x00\x00\x00\x0cJXL ", UNREAD_EXTENSIONS[".jxl"]),
    (b"\x00\x00\x00\x0cjP  ", UNREAD_EXTENSIONS[".jp2"]),
    (b"\xff\x4f\xff\x51", UNREAD_EXTENSIONS[".jp2"]),
    (b"\x00\x00\x01\x00", UNREAD_EXTENSIONS[".ico"]),
    (b"8BPS", "a layered file; export it as PNG"),
    (b"%PDF", _DRAWING),
    (b"%!PS", _DRAWING),
    (b"\x76\x2f\x31\x01", UNREAD_EXTENSIONS[".exr"]),
    (b"#?RADIANCE", UNREAD_EXTENSIONS[".hdr"]),
    (b"II\xbc\x01", UNREAD_EXTENSIONS[".jxr"]),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"\x1a\x45\xdf\xa3", "a video; save frames of it as PNG or JPEG"),
)
_PICTURES = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"),
    *(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
)


def is_picture(head: bytes) -> bool:
    """Recognise a picture that may be read, by its first bytes.

    Args:
        head: the first 16 bytes of a file, or more.
    Returns:
        True for the formats that have a mark of their own (a BMP's two letters are too few).
    """
    riff = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return head.startswith(_PICTURES) or riff or _brand(head) in (*HEIF_BRANDS, *AVIF_BRANDS)


def why_not_read(head: bytes) -> str | None:
    """Say what a file is that no decoder took for a picture.

    Args:
        head: its first 64 bytes, or more.
    Returns:
        What it is and what to do; None where that is not known.
    """
    for mark, reason in _KNOWN:
        if head.startswith(mark):
            return reason
    brand = _brand(head)
    if brand in HEIF_BRANDS:
        return _HEIC
    if brand in AVIF_BRANDS:
        return _AVIF
    if brand:
        return "a video; save frames of it as PNG or JPEG"
    if head.lstrip()[:1] == b"<":
        kind = _DRAWING if b"<svg" in head.lower() else ""
        return kind or "a web page saved under a picture's name; download the picture again"
    if head and not head.strip(b"\0"):
        return "holds only zeros: it was copied badly or never fetched; copy it again"
    return None


def _brand(head: bytes) -> bytes:
    """The brand of an ISO media file: HEIC, AVIF and videos; empty for others."""
    return head[8:12] if head[4:8] == b"ftyp" else b""


def looks_cut_short(file: IO[bytes], format: str) -> bool:
    """Look at the last bytes of an image for the end that its format promises.

    Args:
        file: an open image.
        format: Pillow's name of the format.
    Returns:
        True where the end is missing or the format has none, so that only decoding can tell.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - 12))
    tail = file.read(12)
    if format in ("JPEG", "MPO"):
        return not tail.endswith(b"\xff\xd9")
    if format == "PNG":
        return tail[4:8] != b"IEND"
    if format == "WEBP":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 > size
    if format in ("AVIF", "HEIF"):
        return _boxes_end(file, size) != size
    return True


def _boxes_end(file: IO[bytes], size: int) -> int:
    """Where the last whole box of an ISO media file ends."""
    end = 0
    while end < size:
        file.seek(end)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:  # the length follows the type
            length = int.from_bytes(head[8:16], "big")
        if length == 0 and len(head) >= 8:  # to the end of the file
            return size
        if length < 8 or end + length > size:
            return end
        end += length
    return end
