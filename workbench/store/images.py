"""Pictures from anywhere: opened by known decoders only, bounded in size, brought to RGB."""

import contextlib
import functools
import importlib
import importlib.util
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy
from PIL import Image, ImageOps, features

from workbench.store.colour import PLAIN, Colour, colour_of, read_codes, to_srgb
from workbench.store.files import FileRefused, shown
from workbench.store.formats import why_not_read

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# 16,384 x 16,384: cameras reach 200 million, and a GiB is what the pixels take when decoded.
MAX_PIXELS = 1 << 28
# Pillow warns above its own bound and refuses above twice of it, before ours could be asked.
Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, MAX_PIXELS)
Cut = Callable[[Image.Image], Image.Image]
# 12 megapixels take 0.35 s to convert and 0.05 s to decode. Hard edges of saturated colours come
# out up to 15 levels apart where they are made smaller first: small pictures are converted first.
_CUT_FIRST_PX = 4_000_000
_HEIF_DECODERS = ("pillow_heif", "pi_heif")
_ORIENTATION_TAG = 0x0112
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
# What Pillow's decoders raise on damaged files.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError),
    *(AttributeError, struct.error, zlib.error),
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image's first bytes say.

    Attributes:
        width: px, as displayed (orientation applied).
        height: likewise.
        format: Pillow's name of it.
        mode: Pillow's name of the pixels' kind.
        animated: more than one frame.
        colour: what becomes of its values; see `Colour`.
    """

    width: int
    height: int
    format: str
    mode: str
    animated: bool
    colour: Colour = PLAIN


def image_header(source: str | Path | IO[bytes], *, name: str = "") -> ImageHeader:
    """Read an image's size without decoding its pixels.

    Args:
        source: path or binary file.
        name: what to call it in errors.
    Returns:
        The header.
    Raises:
        FileRefused: empty, no image of a known format, or too many pixels.
    """
    with open_image(source, name=name) as image:
        width, height = image.size
        if _orientation(image) >= 5:  # 5 to 8 turn the picture by a quarter
            width, height = height, width
        return ImageHeader(
            width,
            height,
            image.format or "",
            image.mode,
            animated=_is_animated(image),
            colour=colour_of(image),
        )


def open_image(source: str | Path | IO[bytes], *, name: str = "") -> Image.Image:
    """Open an image by a whitelisted decoder; pixels are decoded when first used.

    Args:
        source: path or binary file.
        name: what to call it in errors.
    Returns:
        The lazily decoded image; the caller closes it.
    Raises:
        FileRefused: empty, no image of a known format, or more than `MAX_PIXELS`.
    """
    name = name or shown(str(source))
    too_large = f"is more than {MAX_PIXELS:,} pixels; make it smaller"
    try:
        with _quiet():
            image = Image.open(source, formats=_formats())
            codes = read_codes(image.fp, image.format or "") if image.fp else None
            if codes is not None:
                image.info["cicp"] = codes
    except Image.DecompressionBombError:
        raise FileRefused(f"{name}: the picture {too_large}") from None
    except _DAMAGE:
        raise FileRefused(f"{name}: {_why_no_image(source)}") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise FileRefused(f"{name}: {width} x {height} px {too_large}")
    return image


def png(image: Image.Image) -> bytes:
    """Encode a picture without loss.

    Args:
        image: in memory.
    Returns:
        The bytes of a PNG file.
    """
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def to_rgb(
    image: Image.Image,
    *,
    name: str = "",
    background: str = "white",
    cut: Cut | None = None,
) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode into upright 8-bit sRGB, and say what had to be changed.

    Other colour spaces are converted (see `colour.py`), 16-bit values are scaled, the first frame
    of an animation counts.

    Args:
        image: an image of `open_image`.
        name: what to call it in errors.
        background: colour that transparency is laid on.
        cut: makes the upright picture smaller; that of a camera before its colours are converted,
            since it has forty times the pixels that are trained on.
    Returns:
        RGB image and notes, for example ("alpha on white",).
    Raises:
        FileRefused: the pixels cannot be decoded (cut short or damaged), or hold no known range.
    """
    name = name or shown(getattr(image, "filename", "") or "image")
    try:
        with _quiet():
            colour, deep = colour_of(image), _is_16_bit(image)  # decoding forgets both
            image.load()
            undefined = colour.refused or _undefined_range(image)
            if not undefined:
                return _converted(image, colour, background, deep=deep, cut=cut)
    except (Image.DecompressionBombError, *_DAMAGE) as error:
        raise FileRefused(
            f"{name}: cannot be decoded ({error}); it is cut short or damaged"
        ) from None
    raise FileRefused(f"{name}: {undefined}")


def to_grey(image: Image.Image, *, name: str = "") -> Image.Image:
    """Decode a mask: its values are shares and no colours, and what is transparent is black.

    Args:
        image: an image of `open_image`.
        name: what to call it in errors.
    Returns:
        Upright 8-bit grey image.
    Raises:
        FileRefused: see `to_rgb`.
    """
    image.info.pop("icc_profile", None)
    image.info["cicp"] = None
    image.info["srgb"] = 0  # a PNG's gamma is for colours too
    return to_rgb(image, name=name, background="black")[0].convert("L")


def to_alpha(image: Image.Image, *, name: str = "") -> Image.Image | None:
    """Decode a picture's transparency.

    Args:
        image: an opened image.
        name: what to call it in errors.
    Returns:
        Upright 8-bit grey image, white where it is opaque; None where it has no transparency.
    Raises:
        FileRefused: the pixels cannot be decoded.
    """
    try:
        with _quiet():
            image.load()
            if not _has_alpha(image):
                return None
            return _upright(image)[0].convert("RGBA").getchannel("A")
    except (Image.DecompressionBombError, *_DAMAGE) as error:
        raise FileRefused(
            f"{name or 'image'}: cannot be decoded ({error}); it is cut short or damaged"
        ) from None


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def _undefined_range(image: Image.Image) -> str:
    """Why the values of a 32-bit picture cannot be read as brightness; empty where they can."""
    if image.mode not in ("I", "F"):
        return ""
    low, high = image.getextrema()
    if image.mode == "I" and low >= 0 and high <= 65535:  # pyright: ignore[reportOperatorIssue]
        return ""  # some formats' 16-bit grey
    return (
        f"pixel values from {low:g} to {high:g} have no defined brightness; "
        "save it with 8 or 16 bits a channel"
    )


def _converted(
    image: Image.Image, colour: Colour, background: str, *, deep: bool, cut: Cut | None
) -> tuple[Image.Image, tuple[str, ...]]:
    notes: list[str] = []
    if _is_animated(image):
        notes.append("first frame of an animation")
    image, turned = _upright(image)
    if turned:
        notes.append("turned upright")
    if deep:
        image = _from_16_bit(image) if image.mode.startswith("I") else image
        notes.append("16-bit scaled to 8")
    mode = image.mode
    large = image.width * image.height >= _CUT_FIRST_PX
    if cut and large and colour.name and mode == "RGB" and not _has_alpha(image):
        image, cut = cut(image), None
    if colour.name:
        image = to_srgb(image, colour)
        notes.append(f"{colour.name} to sRGB")
    if colour.problem:
        notes.append(f"{colour.problem}; its values are taken as sRGB")
    if _has_alpha(image):
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, background)
        image.alpha_composite(layer)
        if layer.getchannel("A").getextrema() != (255, 255):  # else nothing shines through
            notes.append(f"alpha on {background}")
    elif mode != "RGB" and not notes:
        notes.append(f"{mode} to RGB")
    image = image.convert("RGB")
    return cut(image) if cut else image, tuple(notes)


def _upright(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as its EXIF says it is held, which its header foretold; whether it was turned."""
    if _orientation(image) == 1:
        return image, False
    return ImageOps.exif_transpose(image), True


def _is_16_bit(image: Image.Image) -> bool:
    """Whether a channel has 16 bits; of colours Pillow decodes the upper eight alone."""
    told = [tile[3] for tile in getattr(image, "tile", ())[:1]]
    raws = (one if isinstance(one, str) else one[0] for one in told if one)
    return image.mode.startswith("I") or any(";16" in str(raw) for raw in raws)


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 0 to 65535 to 0 to 255; Pillow's own conversion clips at 255, which is nearly black."""
    values = numpy.asarray(image).astype("float64") / 257
    return Image.fromarray(values.round().astype("uint8"))


def _is_animated(image: Image.Image) -> bool:
    """More than one frame; a phone's JPEG with its depth map beside it (MPO) is one picture."""
    return bool(getattr(image, "is_animated", False)) and image.format != "MPO"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Damaged metadata makes Pillow warn; what matters here is said as a note or an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 from the header alone (PNG's getexif would decode all pixels)."""
    raw = image.info.get("exif")
    if not raw:
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(_ORIENTATION_TAG, 1)
    except _DAMAGE:
        return 1  # damaged EXIF says nothing about orientation
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@functools.cache
def _formats() -> tuple[str, ...]:
    """The whitelist, and what phones write where this machine has the decoder."""
    found: list[str] = list(IMAGE_FORMATS)
    if features.check("avif"):
        found.append("AVIF")
    decoder = next((name for name in _HEIF_DECODERS if importlib.util.find_spec(name)), None)
    if decoder is not None:
        importlib.import_module(decoder).register_heif_opener()
        found.append("HEIF")
    return tuple(found)


def _why_no_image(source: str | Path | IO[bytes]) -> str:
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.exists():
            return "no such file"
        if path.is_dir():
            return "a folder, not an image"
        with open(path, "rb") as file:
            head = file.read(256)
    else:
        source.seek(0)
        head = source.read(256)
    if not head:
        return "empty file (0 bytes)"
    return why_not_read(head) or f"not an image that can be read ({', '.join(_formats())})"
