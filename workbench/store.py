"""Every file goes through here: reads that trust nothing, writes that never leave half a file."""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import threading
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageOps

if TYPE_CHECKING:
    import torch

IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
IMAGE_EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif"}
)
MAX_PIXELS = 100_000_000
MAX_ARCHIVE_ENTRIES = 50_000
MAX_ARCHIVE_RATIO = 100  # declared size over compressed size; photographs reach about 1
PICKLE_EXTENSIONS = frozenset({".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"})
_ORIENTATION_TAG = 0x0112


class FileRefused(ValueError):
    """A file is damaged, dangerous or not what its name says: named, and never half-read."""


# ------------------------------------------------------------------------------------- writing


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file so that a crash leaves the old one or the new one, never a part.

    Args:
        path: where; parent folders are made.
        data: the whole content.
    Returns:
        The path.
    Raises:
        OSError: the disk is full or the folder not writable; the old file is then intact.
    """
    with _replacing(Path(path)) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(path)


def write_text(path: str | Path, text: str) -> Path:
    """Write UTF-8 text atomically; see `write_bytes`.

    Args:
        path: where.
        text: the whole content.
    Returns:
        The path.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | Path, data: Any) -> Path:
    """Write JSON atomically; see `write_bytes`. NaN and infinity are refused.

    Args:
        path: where.
        data: JSON-able data.
    Returns:
        The path.
    """
    return write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False))


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
    with _replacing(Path(path)) as temporary:
        save_file(plain, temporary, metadata=metadata)
        sync(temporary)
    return Path(path)


def sync(path: str | Path) -> None:
    """Force a file's or folder's content to the disk.

    Args:
        path: an existing file, or a folder (where the system allows to open one).
    """
    if os.name == "nt" and Path(path).is_dir():
        return  # Windows cannot open folders; its rename is journaled
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` that takes its place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name of its own: a 255-byte file name leaves no room for a suffix.
    mark = hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    temporary = path.with_name(f".{mark}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------- reading


def read_text(path: str | Path) -> str:
    """Read UTF-8 text.

    Args:
        path: an existing file.
    Returns:
        Its text.
    Raises:
        FileRefused: the file is missing or not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise FileRefused(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise FileRefused(
            f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None


def read_json(path: str | Path) -> Any:
    """Read JSON.

    Args:
        path: an existing file.
    Returns:
        Its data.
    Raises:
        FileRefused: missing, not UTF-8, or not JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FileRefused(f"{path}: not valid JSON: {error}") from None


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

    _refuse_pickle(Path(path))
    try:
        return load_file(path)
    except FileNotFoundError:
        raise FileRefused(f"{path}: no such file") from None
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

    _refuse_pickle(Path(path))
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
            return dict(file.metadata() or {}), shapes
    except FileNotFoundError:
        raise FileRefused(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise FileRefused(_damaged(path, error)) from None


def _refuse_pickle(path: Path) -> None:
    if path.suffix.lower() in PICKLE_EXTENSIONS:
        raise FileRefused(
            f"{path}: {path.suffix} files are pickles, which run code when opened; "
            "only .safetensors is read, so convert the file where you trust it"
        )


def _damaged(path: str | Path, error: Exception) -> str:
    return (
        f"{path}: not a sound safetensors file ({error}); it is cut short or altered: "
        "download or save it again"
    )


# -------------------------------------------------------------------------------------- images


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


# ---------------------------------------------------------------------------------------- zips


class Archive:
    """A zip file that was checked before anything is read from it."""

    def __init__(self, path: str | Path) -> None:
        """Check the table of contents.

        Args:
            path: a .zip file.
        Raises:
            FileRefused: no zip, encrypted, or an entry climbs out, links, or inflates too far.
        """
        self.path = Path(path)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise FileRefused(f"{path}: not a readable zip file ({error})") from None
        entries = self._zip.infolist()
        if len(entries) > MAX_ARCHIVE_ENTRIES:
            raise FileRefused(
                f"{path}: {len(entries):,} entries are more than {MAX_ARCHIVE_ENTRIES:,}; split it"
            )
        for entry in entries:
            self._check(entry)
        self.names = tuple(entry.filename for entry in entries if not entry.is_dir())

    def _check(self, entry: zipfile.ZipInfo) -> None:
        name = f"{self.path}: member {entry.filename!r}"
        parts = entry.filename.replace("\\", "/").split("/")
        if entry.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise FileRefused(f"{name} points outside the archive; nothing was read")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise FileRefused(f"{name} is a symbolic link; nothing was read")
        if entry.flag_bits & 0x1:
            raise FileRefused(f"{name} is encrypted; unpack it yourself")
        if entry.file_size > 1 << 20 and entry.file_size > MAX_ARCHIVE_RATIO * entry.compress_size:
            raise FileRefused(
                f"{name} inflates {entry.compress_size:,} to {entry.file_size:,} bytes, more than "
                f"{MAX_ARCHIVE_RATIO} times; nothing was read"
            )

    def read(self, name: str) -> bytes:
        """The content of one member.

        Args:
            name: one of `names`.
        Returns:
            Its bytes.
        Raises:
            FileRefused: the member is damaged (CRC) or missing.
        """
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError) as error:
            raise FileRefused(f"{self.path}: member {name!r} cannot be read ({error})") from None

    def size(self, name: str) -> int:
        """The declared size of one member in bytes.

        Args:
            name: one of `names`.
        Returns:
            Its uncompressed size.
        """
        return self._zip.getinfo(name).file_size

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


# -------------------------------------------------------------------------------------- hashes


def cache_home() -> Path:
    """The folder for what can be made again: `$WORKBENCH_HOME/cache`, else the user's cache.

    Returns:
        The folder; it may not exist yet.
    """
    if home := os.environ.get("WORKBENCH_HOME"):
        return Path(home) / "cache"
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(base or Path.home() / ".cache") / "lora-workbench"


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time.

    Args:
        path: an existing file.
    Returns:
        64 hex digits.
    Raises:
        FileRefused: no such file.
    """
    resolved = Path(path).resolve()
    try:
        status = resolved.stat()
    except OSError:
        raise FileRefused(f"{path}: no such file") from None
    key = (os.fsencode(resolved), status.st_size, status.st_mtime_ns)
    database = _hash_database(cache_home())
    with _HASH_LOCK:
        row = database.execute(
            "select sha256 from hashes where path = ? and size = ? and mtime_ns = ?", key
        ).fetchone()
    if row:
        return row[0]
    with open(resolved, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A locked or read-only memo costs time and never the answer.
    with _HASH_LOCK, contextlib.suppress(sqlite3.OperationalError):
        database.execute("insert or replace into hashes values (?, ?, ?, ?)", (*key, digest))
    return digest


_HASH_LOCK = threading.Lock()


@functools.cache
def _hash_database(home: Path) -> sqlite3.Connection:
    """The memo; in memory where the cache folder cannot be written."""
    create = (
        "create table if not exists hashes "
        "(path blob primary key, size integer, mtime_ns integer, sha256 text)"
    )
    try:
        home.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            home / "hashes.sqlite", check_same_thread=False, isolation_level=None
        )
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = off")
        database.execute(create)
    except (OSError, sqlite3.Error):
        database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        database.execute(create)
    return database


def free_bytes(path: str | Path) -> int:
    """Free space of the disk that holds a path.

    Args:
        path: an existing or future path.
    Returns:
        Bytes.
    """
    folder = Path(path).resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
