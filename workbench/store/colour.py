"""Colours as they were meant: what a picture says about its values, and how they become sRGB.

Models are trained on sRGB. A picture of a phone is Display P3, one of a camera may be Adobe RGB,
one for print CMYK: their values, taken for sRGB, are other colours. What counts, in this order: the
codes of a PNG (cICP) or AVIF, an ICC profile, a PNG's sRGB chunk, its gamma and primaries, and the
EXIF of a camera that says Adobe RGB. What says nothing is sRGB, and its values stay as they are.
"""

import functools
import io
import struct
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image, ImageCms

# Part of the cache keys of converted pictures alone: raise it when their pixels change.
COLOUR_VERSION = 1
# Levels that a profile may move a value and still be called sRGB: rounding, and sRGB's variants.
_SAME_LEVELS = 2
_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
_D50 = np.array([0.9642, 1.0, 0.8249])
_D65 = (0.3127, 0.329)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
Chromaticities = tuple[float, ...]  # x and y of white, red, green, blue
_SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_ADOBE: Chromaticities = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
# ITU-T H.273, table 2: code to name and primaries. Unknown codes are taken for sRGB.
_PRIMARIES: dict[int, tuple[str, Chromaticities]] = {
    4: ("BT.470 M", (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.601 (625 lines)", (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06)),
    6: ("BT.601 (525 lines)", (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)),
    7: ("SMPTE 240M", (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)),
    9: ("BT.2020", (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)),
    11: ("DCI-P3", (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
    12: ("Display P3", (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)),
}
# Table 3: code to gamma; the others that still pictures use are shown like sRGB.
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
_HDR = {16: "PQ", 18: "HLG"}
# The EXIF entry ColorSpace = 2, Adobe RGB as some makers write it, in either byte order.
_ADOBE_ENTRIES = (
    struct.pack("<HHIHH", 0xA001, 3, 1, 2, 0),
    struct.pack(">HHIHH", 0xA001, 3, 1, 2, 0),
)
_SPACES = {"L": b"GRAY", "CMYK": b"CMYK", "LAB": b"Lab "}


@dataclass(frozen=True, slots=True)
class Colour:
    """What becomes of a picture's values.

    Attributes:
        name: of the colour space that is converted to sRGB; "" where values stay as they are.
        profile: the ICC profile that says how.
        problem: why an embedded profile is not used; "" where there is nothing to say.
        refused: why the picture cannot be used at all; "" where it can.
    """

    name: str = ""
    profile: bytes = b""
    problem: str = ""
    refused: str = ""


PLAIN = Colour()


def colour_of(image: Image.Image) -> Colour:
    """Find what a picture says about its colours, from its header alone.

    Args:
        image: as `open_image` opened it.
    Returns:
        What becomes of its values.
    """
    if codes := image.info.get("cicp"):
        return _by_codes(*codes)
    kind = _kind(image.mode)
    if icc := image.info.get("icc_profile"):
        return _by_profile(bytes(icc), kind)
    if kind == "LAB":
        return _lab()
    if kind == "CMYK":
        return PLAIN  # no ink is known; Pillow's own formula stands
    if image.format == "PNG" and "srgb" not in image.info:
        return _by_gamma(image.info.get("gamma"), image.info.get("chromaticity"))
    return _adobe() if _says_adobe(image) else PLAIN


def to_srgb(image: Image.Image, colour: Colour) -> Image.Image:
    """Convert a picture's values to sRGB.

    Args:
        image: decoded, of any mode but 16 bits and more.
        colour: from `colour_of`, with a name.
    Returns:
        RGBA where it has transparency, which stays as it is; else RGB.
    """
    grey = colour.profile[16:20] == b"GRAY"
    if image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
        inner = image.convert("RGB").convert("L") if grey else image.convert("RGB")
        made = _applied(inner, colour.profile)
        made.putalpha(alpha)
        return made
    if image.mode not in ("CMYK", "LAB"):
        image = image.convert("L" if grey else "RGB")
    return _applied(image, colour.profile)


def read_codes(file: IO[bytes], format: str) -> tuple[int, int] | None:
    """Read the colour codes of ITU-T H.273 from a file's header.

    Args:
        file: an open image; its position is kept.
        format: Pillow's name of the format.
    Returns:
        Codes of primaries and transfer; None where there are none.
    """
    if format not in ("PNG", "AVIF", "HEIF"):
        return None
    position = file.tell()
    try:
        return _png_codes(file) if format == "PNG" else _box_codes(file)
    finally:
        file.seek(position)


def _png_codes(file: IO[bytes]) -> tuple[int, int] | None:
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"cICP" and length == 4:
            primaries, transfer, _, _ = file.read(4)
            return primaries, transfer
        file.seek(length + 4, io.SEEK_CUR)
    return None


def _box_codes(file: IO[bytes]) -> tuple[int, int] | None:
    file.seek(0)
    _, mark, after = file.read(1 << 16).partition(b"colrnclx")
    if not mark or len(after) < 4:
        return None
    primaries, transfer = struct.unpack(">HH", after[:4])
    return primaries, transfer


def _kind(mode: str) -> str:
    """What a profile must describe: RGB, L, CMYK or LAB."""
    if mode in ("CMYK", "LAB"):
        return mode
    return "L" if mode.startswith(("L", "1", "I", "F")) else "RGB"


@functools.lru_cache(maxsize=64)
def _by_codes(primaries: int, transfer: int) -> Colour:
    if transfer in _HDR:
        return Colour(refused=_for_hdr(_HDR[transfer]))
    name, chromaticities = _PRIMARIES.get(primaries, ("linear sRGB", _SRGB))
    gamma = _GAMMAS.get(transfer)
    if primaries not in _PRIMARIES and gamma is None:
        return PLAIN
    return _unless_srgb(name, matrix_profile(chromaticities, gamma))


def _for_hdr(curve: str) -> str:
    return (
        f"its values are for HDR screens ({curve}), and how bright they are meant on others is not "
        "defined; save it as an ordinary (SDR) PNG or JPEG"
    )


@functools.lru_cache(maxsize=64)
def _by_profile(icc: bytes, kind: str) -> Colour:
    if len(icc) < 132 or icc[36:40] != b"acsp":
        return Colour(problem="its colour profile is damaged")
    space = icc[16:20]
    if (curve := _tag(icc, b"cicp")) and len(curve) > 9 and curve[9] in _HDR:
        return Colour(refused=_for_hdr(_HDR[curve[9]]))
    wanted = _SPACES.get(kind, b"RGB ")
    if space != wanted and (kind, space) != ("L", b"RGB "):  # grey is spread over three channels
        named = space.decode("ascii", "replace").strip()
        return Colour(problem=f"its colour profile is for {named} and its pixels are {kind}")
    try:
        name = ImageCms.getProfileDescription(io.BytesIO(icc)).strip()
        name = name[:60] if name.isprintable() and name else "a profile without a name"
        return _unless_srgb(name, icc)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return Colour(problem="its colour profile is damaged")


def _tag(icc: bytes, name: bytes) -> bytes:
    """The content of one tag of a profile; empty where it has none."""
    count = int.from_bytes(icc[128:132], "big")
    for start in range(132, min(132 + 12 * min(count, 100), len(icc) - 11), 12):
        if icc[start : start + 4] == name:
            offset, size = struct.unpack(">II", icc[start + 4 : start + 12])
            return icc[offset : offset + size]
    return b""


def _unless_srgb(name: str, icc: bytes) -> Colour:
    """Leave values alone that the conversion would hardly move: sRGB under any name."""
    space = icc[16:20]
    if space in (b"RGB ", b"GRAY"):
        probe = _probe("L" if space == b"GRAY" else "RGB")
        there, back = np.asarray(probe.convert("RGB"), int), np.asarray(_applied(probe, icc), int)
        if np.abs(there - back).max() <= _SAME_LEVELS:
            return PLAIN
    else:
        _transform(icc, "CMYK" if space == b"CMYK" else "LAB")
    return Colour(name, icc)


@functools.cache
def _probe(mode: str) -> Image.Image:
    """Nine levels of each channel, or all levels of grey."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
    return Image.fromarray(grid.reshape(27, 27, 3))


@functools.lru_cache(maxsize=32)
def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), mode, "RGB", renderingIntent=_INTENT, flags=_FLAGS
    )


def _applied(image: Image.Image, icc: bytes) -> Image.Image:
    made = ImageCms.applyTransform(image, _transform(icc, image.mode))
    assert made is not None, "only a conversion in place returns nothing"
    made.info.pop("icc_profile", None)
    return made


@functools.cache
def _lab() -> Colour:
    """CIE L*a*b* as TIFF files hold it, whose white is D50."""
    return Colour("Lab", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())


@functools.cache
def _adobe() -> Colour:
    return Colour("Adobe RGB (by EXIF)", matrix_profile(_ADOBE, 563 / 256))


@functools.lru_cache(maxsize=64)
def _by_gamma(gamma: float | None, chromaticity: Chromaticities | None) -> Colour:
    """A PNG's own words. Values that no screen has are a writer's mistake, and say nothing."""
    usual = gamma is None or abs(gamma * 2.2 - 1) < 0.05  # nearly all files say 1 / 2.2: sRGB
    near = chromaticity is None or bool(np.abs(np.subtract(chromaticity, _SRGB)).max() < 0.01)
    if usual and near:
        return PLAIN
    if (gamma is not None and not 0.2 <= gamma <= 1.5) or not _is_gamut(chromaticity or _SRGB):
        return Colour(problem="its gamma or primaries are no screen's")
    exponent = None if usual else 1 / (gamma or 1)
    name = "PNG primaries" if usual else f"gamma {exponent:.2g}"
    return _unless_srgb(name, matrix_profile(chromaticity or _SRGB, exponent))


def _is_gamut(chromaticity: Chromaticities) -> bool:
    """Whether white and primaries span a triangle."""
    points = np.reshape(chromaticity, (4, 2))
    if (points[:, 1] <= 0).any() or (points.sum(1) > 1.0001).any() or (points < 0).any():
        return False
    area = np.linalg.det(np.stack([points[2] - points[1], points[3] - points[1]]))
    return bool(abs(area) > 0.01)


def _says_adobe(image: Image.Image) -> bool:
    """Whether a camera wrote Adobe RGB into the EXIF instead of a profile (DCF 2.0, R03)."""
    raw = image.info.get("exif") or b""
    if any(entry in raw for entry in _ADOBE_ENTRIES):
        return True
    if b"R03" not in raw:  # looked at first, since reading the whole EXIF takes time
        return False
    exif = Image.Exif()
    try:
        exif.load(raw)
        return str(exif.get_ifd(0xA005).get(1, "")).strip("\0 ") == "R03"
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return False  # damaged EXIF says nothing


def matrix_profile(chromaticities: Chromaticities, gamma: float | None) -> bytes:
    """Make an ICC profile of a screen.

    Args:
        chromaticities: x and y of white, red, green and blue.
        gamma: exponent of its values; None for the curve of sRGB.
    Returns:
        A version 4 profile of three primaries and one curve.
    Source: ICC.1:2010, sections 7, 9 and 10; Bradford adaptation as in its annex E.
    """
    points = np.reshape(chromaticities, (4, 2))
    xyz = np.stack([points[:, 0], points[:, 1], 1 - points.sum(1)]) / points[:, 1]  # Y is 1
    white, primaries = xyz[:, 0], xyz[:, 1:]
    scaled = primaries * np.linalg.solve(primaries, white)
    gain = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    columns = (np.linalg.inv(_BRADFORD) @ gain @ _BRADFORD @ scaled).T
    if gamma is None:
        curve = struct.pack(">4sIHH", b"para", 0, 3, 0)
        curve += _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    else:
        curve = struct.pack(">4sIHH", b"para", 0, 0, 0) + _fixed(gamma)
    xyz_tags = {
        name: struct.pack(">4sI", b"XYZ ", 0) + _fixed(*column)
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
    }
    tags = {
        b"wtpt": struct.pack(">4sI", b"XYZ ", 0) + _fixed(*_D50),
        **xyz_tags,
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    return _header(start + len(content)) + table + content


def _header(size: int) -> bytes:
    """The 128 bytes before the tags: version 4.3, a screen, RGB to XYZ of D50."""
    head = struct.pack(">I4sI4s4s4s12s4s", size, bytes(4), 0x04300000, b"mntr", b"RGB ", b"XYZ ",
                       bytes(12), b"acsp")  # fmt: skip
    return (head + bytes(68 - len(head)) + _fixed(*_D50)).ljust(128, b"\0")


def _fixed(*numbers: float) -> bytes:
    """Numbers as s15Fixed16."""
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)
