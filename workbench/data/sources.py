"""Where pictures and captions come from: folders, zips, metadata files. Nothing is decoded here."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, Protocol

from workbench import store
from workbench.data.augment import Box
from workbench.settings import SettingsError
from workbench.store import FileRefused

__all__ = [
    "CAPTION_EXTENSIONS",
    "MADE_BY",
    "METADATA_NAMES",
    "Files",
    "Listed",
    "decode_caption",
    "kohya_box",
    "kohya_folder",
    "looks_cut_short",
    "metadata",
    "open_files",
    "shown",
]

CAPTION_EXTENSIONS = (".txt", ".caption")
METADATA_NAMES = ("metadata.jsonl", "metadata.csv")
MADE_BY = "made-by.json"  # how `make-prior` drew the pictures beside it
CAPTION_COLUMNS = ("text", "caption", "prompt")
BOX_COLUMNS = ("box", "objects")
_KOHYA = re.compile(r"^([1-9]\d{0,2})_(.+)$")
_KOHYA_BOX = re.compile(r"_(\d{4})_(\d{4})_(\d{4})_(\d{4})$")


class Listed(NamedTuple):
    """What a metadata file says of one picture."""

    caption: str
    box: Box | None = None


class Files(Protocol):
    """A folder or a zip: names of its files, relative and with forward slashes, and a reader."""

    names: list[str]
    notes: list[str]

    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading."""
        ...

    def path(self, name: str) -> Path | None:
        """Where it lies on the disk; None inside a zip."""
        ...


class Folder:
    """A folder on the disk."""

    def __init__(self, root: Path, *, recursive: bool) -> None:
        self.root = root
        self.notes: list[str] = []
        self.names = sorted(self._walk(root, "", recursive))

    def _walk(self, folder: Path, prefix: str, recursive: bool) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield prefix + entry.name
                elif entry.is_symlink():
                    # Following could run in circles; who wants it names it as a subset.
                    self.notes.append(f"linked folder {shown(prefix + entry.name)} was not entered")
                elif recursive:
                    yield from self._walk(Path(entry.path), f"{prefix}{entry.name}/", recursive)
                else:
                    self.notes.append(f"folder {shown(prefix + entry.name)} was not entered")

    def open(self, name: str) -> IO[bytes]:
        """Open one file for reading."""
        return open(os.path.join(self.root, name), "rb")

    def path(self, name: str) -> Path | None:
        """Where it lies on the disk."""
        return self.root / name


class Zip:
    """A zip archive, read in place and never unpacked."""

    def __init__(self, path: Path, *, recursive: bool) -> None:
        self.archive = open_archive(path)
        self.notes: list[str] = []
        parts = ((name, PurePosixPath(name).parts) for name in self.archive.names)
        self.names = sorted(
            name
            for name, steps in parts
            if not any(step.startswith((".", "__MACOSX")) for step in steps)
            and (recursive or len(steps) == 1)
        )

    def open(self, name: str) -> IO[bytes]:
        """Read one member whole, which also checks its CRC."""
        return io.BytesIO(self.archive.read(name))

    def path(self, name: str) -> Path | None:
        """Members have no place on the disk."""
        return None


@lru_cache(maxsize=8)
def open_archive(path: Path) -> store.Archive:
    """Open a checked zip once for all its members.

    Args:
        path: a .zip file.
    Returns:
        The archive, left open.
    Raises:
        FileRefused: see `store.Archive`.
    """
    return store.Archive(path)


def open_files(path: Path, *, setting: str, recursive: bool = True) -> Files:
    """Open a folder or zip.

    Args:
        path: what the user named.
        setting: name of the setting, for errors.
        recursive: enter the folders inside.
    Returns:
        Its files; hidden ones are left out.
    Raises:
        SettingsError: no such path, or neither folder nor zip.
        FileRefused: a zip that is damaged or dangerous.
    """
    if path.is_dir():
        return Folder(path, recursive=recursive)
    if path.suffix.lower() == ".zip" and path.is_file():
        return Zip(path, recursive=recursive)
    rule = "must be a folder, a .zip file or critters:world"
    problem = "is a single file: name its folder" if path.exists() else "does not exist"
    raise SettingsError(f"{setting} {rule}; {shown(str(path))} {problem}")


def decode_caption(data: bytes) -> str:
    """Decode a caption file by its byte order mark, else as UTF-8.

    Args:
        data: content of the file.
    Returns:
        The text, without surrounding white space.
    Raises:
        ValueError: neither UTF-8 nor UTF-16 with a mark; guessing would put wrong letters into
            every caption without anyone noticing.
    """
    marked_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if marked_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError("is neither UTF-8 nor UTF-16 with a byte order mark; save it as UTF-8")
    return text.strip()


def metadata(files: Files, name: str) -> dict[str, Listed]:
    """Read a Hugging Face imagefolder's metadata.jsonl or metadata.csv.

    Args:
        files: folder or zip that holds it.
        name: of the metadata file.
    Returns:
        Image name, relative to `files`, to its caption ("" where the row has none) and its box:
        the column `box` (left, top, width, height in px), or the largest of `objects.bbox`.
    Raises:
        FileRefused: no such columns, a damaged row, or a file name that leaves the folder.
    """
    with files.open(name) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise FileRefused(f"{shown(name)}: not UTF-8 text; save it as UTF-8") from None
    rows = _json_rows(text, name) if name.endswith(".jsonl") else _csv_rows(text, name)
    folder = PurePosixPath(name).parent
    listed: dict[str, Listed] = {}
    for line, row in rows:
        file_name = row.get("file_name")
        columns = [column for column in CAPTION_COLUMNS if column in row]
        boxes = [column for column in BOX_COLUMNS if column in row]
        if not isinstance(file_name, str) or not (columns or boxes):
            raise FileRefused(
                f"{shown(name)}, row {line}: must have file_name and one of "
                f"{', '.join((*CAPTION_COLUMNS, *BOX_COLUMNS))}; "
                f"it has {', '.join(map(str, row)) or 'nothing'}"
            )
        relative = PurePosixPath(file_name)
        if relative.is_absolute() or ".." in relative.parts:
            raise FileRefused(
                f"{shown(name)}, row {line}: file_name must stay inside the folder, "
                f"got {shown(file_name)}"
            )
        caption = row[columns[0]] if columns else ""
        listed[str(folder / relative)] = Listed(
            caption.strip() if isinstance(caption, str) else "",
            _box(row[boxes[0]], f"{shown(name)}, row {line}") if boxes else None,
        )
    return listed


def _box(value: Any, place: str) -> Box | None:
    """The box of one row; the largest where objects are listed, None where the cell is empty."""
    if isinstance(value, dict):
        found = [box for one in value.get("bbox") or () if (box := _box(one, place))]
        return max(found, key=lambda box: box[2] * box[3], default=None)
    numbers = re.split(r"[\s,;]+", value.strip("[]() ")) if isinstance(value, str) else value
    if numbers in (None, [], [""]):
        return None
    try:
        left, top, width, height = (float(number) for number in numbers)
    except (TypeError, ValueError):
        left = top = width = height = math.nan
    if not (math.isfinite(left + top + width + height) and width > 0 and height > 0):
        raise FileRefused(
            f"{place}: a box must be left, top, width and height in px, got {value!r}"
        )
    return left, top, width, height


def _json_rows(text: str, name: str) -> Iterator[tuple[int, dict]]:
    # Not splitlines(): JSON strings may hold U+2028, which is no line break here.
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise FileRefused(f"{shown(name)}, row {line}: not valid JSON: {error}") from None
        if not isinstance(row, dict):
            raise FileRefused(f"{shown(name)}, row {line}: must be a JSON object, got {content!r}")
        yield line, row


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, dict]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        yield from enumerate(reader, start=1)
    except csv.Error as error:
        raise FileRefused(f"{shown(name)}: not valid CSV: {error}") from None


def kohya_folder(name: str) -> tuple[int, str] | None:
    """Read a kohya folder name such as `10_zib dog`.

    Args:
        name: of one folder, without its parents.
    Returns:
        Repeats, 1 to 999, and words; None for other names (four digits are a year).
    """
    match = _KOHYA.match(name)
    return (int(match[1]), match[2].strip()) if match else None


def kohya_box(name: str) -> Box | None:
    """Read the face that kohya's `detect_face_rotate` writes into a file name.

    Args:
        name: such as `mochi_0_0256_0120_0064_0080.png`: centre, width and height in px.
    Returns:
        The box; None for other names.
    """
    match = _KOHYA_BOX.search(PurePosixPath(name).stem)
    if match is None:
        return None
    x, y, width, height = map(int, match.groups())
    return (x - width / 2, y - height / 2, width, height) if width and height else None


def looks_cut_short(file: IO[bytes], format: str) -> bool:
    """Look at the last bytes of an image for the end that its format promises.

    Args:
        file: an open image.
        format: Pillow's name of the format.
    Returns:
        True where the end is missing or the format has none, so that only decoding can tell.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 12))
    tail = file.read(12)
    if format in ("JPEG", "MPO"):
        return not tail.endswith(b"\xff\xd9")
    if format == "PNG":
        return tail[4:8] != b"IEND"
    if format == "WEBP":
        file.seek(4)
        return int.from_bytes(file.read(4), "little") + 8 > size
    return True


def shown(name: str) -> str:
    """A file name as it may stand in a message: line breaks and the like are escaped.

    Args:
        name: any file name.
    Returns:
        The name itself where it is printable.
    """
    return name if name.isprintable() else ascii(name)


def case_conflicts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Find names that some systems take for the same file.

    Args:
        names: of files in one folder or zip.
    Returns:
        Pairs that differ in upper and lower case only.
    """
    first: dict[str, str] = {}
    pairs = ((name, first.setdefault(name.casefold(), name)) for name in names)
    return [(other, name) for name, other in pairs if other != name]
