"""Pictures from anywhere: opened by known decoders only, bounded in size, brought to RGB."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps

from workbench.store.files import FileRefused

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
IMAGE_EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"}
)
MAX_PIXELS = 100_000_000
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image's first bytes say: size in px as displayed (orientation applied)."""

    width: int
    height: int
    format: str
    mode: str
    animated: bool


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
        animated = bool(getattr(image, "is_animated", False))
        return ImageHeader(width, height, image.format or "", image.mode, animated)


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
    name = name or str(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source, formats=IMAGE_FORMATS)
    except FileNotFoundError:
        raise FileRefused(f"{name}: no such file") from None
    except Image.DecompressionBombError:
        raise FileRefused(f"{name}: more than {MAX_PIXELS:,} pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError, EOFError):
        raise FileRefused(f"{name}: {_why_no_image(source)}") from None
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise FileRefused(
            f"{name}: {image.width} x {image.height} px is more than {MAX_PIXELS:,} pixels; "
            "make it smaller"
        )
    return image


def to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode into upright 8-bit RGB, and say what had to be changed.

    Transparency is laid on white, 16-bit values are scaled, the first frame of an animation counts.

    Args:
        image: an opened image.
    Returns:
        RGB image and notes, for example ("alpha on white",).
    Raises:
        FileRefused: the pixels cannot be decoded (cut short or damaged).
    """
    name = getattr(image, "filename", "") or "image"
    try:
        image.load()
        return _converted(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise FileRefused(f"{name}: cannot be decoded ({error}); it is cut short") from None


def _converted(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    notes: list[str] = []
    if getattr(image, "is_animated", False):
        notes.append("first frame of an animation")
    if _orientation(image) > 1:
        image = ImageOps.exif_transpose(image)
        notes.append("turned upright")
    if image.mode.startswith("I;16") or image.mode == "I":
        image = (
            image.point(lambda value: value / 257, "L") if image.mode != "I" else _from_int(image)
        )
        notes.append("16-bit scaled to 8")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        notes.append("alpha on white")
    elif image.mode != "RGB" and not notes:
        notes.append(f"{image.mode} to RGB")
    return image.convert("RGB"), tuple(notes)


def _from_int(image: Image.Image) -> Image.Image:
    """Pillow opens 16-bit grey as mode I in some formats; scale the same way as I;16."""
    import numpy

    values = numpy.asarray(image).clip(0, 65535) / 257
    return Image.fromarray(values.round().astype("uint8"), "L")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8 from the header alone (PNG's getexif would decode all pixels)."""
    raw = image.info.get("exif")
    if not raw:
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(_ORIENTATION_TAG, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError):
        return 1  # damaged EXIF says nothing about orientation
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _why_no_image(source: str | Path | IO[bytes]) -> str:
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.exists():
            return "no such file"
        if path.is_file() and path.stat().st_size == 0:
            return "empty file (0 bytes)"
        if path.suffix.lower() in (".heic", ".heif", ".avif"):
            return "no decoder for this format is installed; convert it to PNG or JPEG"
    return f"not an image that can be read ({', '.join(IMAGE_FORMATS)})"
