"""Captions of many pictures in one file: imagefolders' tables, and other trainers' JSON.

Paths in them may have been written on Windows or on another machine: a picture is found by its path
inside the folder, else by the end of it. Nothing outside the folder is ever opened.
"""

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple, TypeGuard

from workbench.data.augment import Box
from workbench.data.names import folded, is_image_name, stem_of, tails
from workbench.data.sources import METADATA_NAMES, Files
from workbench.store import FileRefused, shown

__all__ = ["Listed", "Resolver", "caption_of", "json_list", "line_list", "metadata"]

FILE_COLUMNS = (
    *("file_name", "filename", "file", "image", "image_path", "image_file", "path", "img"),
)
CAPTION_COLUMNS = ("text", "caption", "prompt")
BOX_COLUMNS = ("box", "objects")
_WORDS = ("caption", "text", "prompt", "description", "captions")
_TAGS = ("tags", "tag_string", "tag")
# The stages of sd-scripts' tools; a later one holds what the earlier said.
_STAGES = ("meta_dd", "meta_cap", "meta_cap_dd", "meta_clean", "meta_lat")
_LINE = re.compile(r"""["']?(.+?\.[A-Za-z]{3,5})["']?\s*[\t|:,;=]\s*(.*)""")


class Listed(NamedTuple):
    """What a metadata file says of one picture."""

    caption: str
    box: Box | None = None


class Resolver:
    """Finds the picture that a path in a metadata file means.

    Args:
        names: of the pictures, relative, with forward slashes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_path: defaultdict[str, list[str]] = defaultdict(list)
        self._by_own: defaultdict[str, list[str]] = defaultdict(list)
        self._names = frozenset(names)
        for name in self._names:
            for key in (folded(name), stem_of(folded(name))):
                self._by_path[key].append(name)
                self._by_own[key.rpartition("/")[2]].append(name)

    def find(self, folder: str, path: str) -> list[str]:
        """Find a picture.

        Args:
            folder: of the metadata file; "" at the top.
            path: as it is written there, with or without an extension.
        Returns:
            Names: none where it is not there, several where pictures share a stem.
        """
        path = path.strip().replace("\\", "/")
        if ".." in path.split("/"):
            return []
        if (own := _joined(folder, path)) in self._names:
            return [own]
        for tail in tails(path):
            if there := self._by_path.get(folded(_joined(folder, tail))):
                return sorted(there)
        there = self._by_own.get(folded(path.rpartition("/")[2]), [])
        alone = len({name.rpartition("/")[0] for name in there}) == 1
        return sorted(there) if alone else []


def _joined(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name) if folder else name.removeprefix("./")


def metadata(files: Files, name: str, resolver: Resolver | None = None) -> dict[str, Listed]:
    """Read a Hugging Face imagefolder's metadata.jsonl or metadata.csv.

    Args:
        files: folder or zip that holds it.
        name: of the metadata file.
        resolver: of the pictures; without one, paths are taken as they are written.
    Returns:
        Image name, relative to `files`, to its caption ("" where the row has none) and its box:
        the column `box` (left, top, width, height in px), or the largest of `objects.bbox`.
    Raises:
        FileRefused: no such columns, a damaged row, or a file name that leaves the folder.
    """
    text = _text(files, name)
    rows = _json_rows(text, name) if name.endswith(".jsonl") else _csv_rows(text, name)
    folder = name.rpartition("/")[0]
    listed: dict[str, Listed] = {}
    for line, row in rows:
        file_column = next((x for x in FILE_COLUMNS if isinstance(row.get(x), str)), None)
        columns = [column for column in CAPTION_COLUMNS if column in row]
        columns = [column for column in columns if column != file_column]
        boxes = [column for column in BOX_COLUMNS if column in row]
        if file_column is None or not (columns or boxes):
            raise FileRefused(
                f"{shown(name)}, row {line}: must have file_name and one of "
                f"{', '.join((*CAPTION_COLUMNS, *BOX_COLUMNS))}; "
                f"it has {', '.join(map(str, row)) or 'nothing'}"
            )
        path = str(row[file_column])
        found = resolver.find(folder, path) if resolver else []
        if not found:
            found = [_inside(folder, path, f"{shown(name)}, row {line}")]
        caption = row[columns[0]] if columns else ""
        entry = Listed(
            caption.strip() if isinstance(caption, str) else "",
            _box(row[boxes[0]], f"{shown(name)}, row {line}") if boxes else None,
        )
        listed |= dict.fromkeys(found, entry)
    return listed


def _text(files: Files, name: str) -> str:
    with files.open(name) as file:
        data = file.read()
    marked_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return data.decode("utf-16" if marked_utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefused(f"{shown(name)}: not UTF-8 text; save it as UTF-8") from None


def _inside(folder: str, path: str, place: str) -> str:
    """The path of a picture that is not there, as it is named then."""
    relative = PurePosixPath(path.replace("\\", "/"))
    leaves = relative.is_absolute() or ".." in relative.parts or path[1:2] == ":"
    if leaves:
        raise FileRefused(
            f"{place}: file_name must stay inside the folder, got {shown(path)}, and no picture "
            "here has such a name"
        )
    return str(PurePosixPath(folder) / relative)


def json_list(
    files: Files, names: Iterable[str], resolver: Resolver
) -> tuple[dict[str, Listed], list[str], list[str]]:
    """Read the JSON files that list captions: sd-scripts' meta_*.json, and lists of other tools.

    Args:
        files: folder or zip that holds them.
        names: of JSON files that belong to no single picture.
        resolver: of the pictures.
    Returns:
        Captions by picture; the files that were read; what is doubtful about the others.
    """
    fields: dict[str, dict[str, object]] = {}
    read, doubts = [], []
    for name in sorted(names, key=_stage):
        entries = dict(_entries(_parsed(files, name)))
        folder = name.rpartition("/")[0]
        found = {path: resolver.find(folder, path) for path in entries}
        for path, pictures in found.items():
            for picture in pictures:
                fields.setdefault(picture, {}).update(entries[path])
        if any(found.values()):
            read.append(name)
        missing = [path for path, pictures in found.items() if not pictures]
        if missing and entries:
            doubts.append(
                f"{shown(name)} has captions of {len(missing)} pictures that are not here, such as "
                f"{shown(missing[0])}"
            )
    return {name: Listed(caption_of(one)) for name, one in fields.items()}, read, doubts


def _stage(name: str) -> tuple[int, str]:
    own = stem_of(name).rpartition("/")[2].lower()
    return _STAGES.index(own) if own in _STAGES else -1, name


def _parsed(files: Files, name: str) -> object:
    try:
        return json.loads(_text(files, name))
    except (ValueError, RecursionError):
        return None  # no list of captions, whatever it is


def _entries(data: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Path and fields of every picture that a parsed JSON file lists; none in other files."""
    if isinstance(data, Mapping) and isinstance(data.get("annotations"), list):  # COCO
        images = {x.get("id"): x.get("file_name") for x in data.get("images") or () if _is_row(x)}
        for row in data["annotations"]:
            path = images.get(row.get("image_id")) if _is_row(row) else None
            if isinstance(path, str) and caption_of(row):
                yield path, row
    elif isinstance(data, Mapping):
        for path, value in data.items():
            if isinstance(value, str) and is_image_name(path):
                yield path, {"caption": value}
            elif _is_row(value) and caption_of(value):
                yield path, dict(value)
    elif isinstance(data, list):
        for row in filter(_is_row, data):
            path = next((row[x] for x in FILE_COLUMNS if isinstance(row.get(x), str)), None)
            words = {key: value for key, value in row.items() if value is not path}
            if path is not None and caption_of(words):
                yield str(path), words


def _is_row(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def caption_of(fields: Mapping[str, object]) -> str:
    """The words that other trainers' JSON holds of one picture.

    Args:
        fields: of its entry or its own file.
    Returns:
        Caption and tags, joined by a comma as sd-scripts does; "" where it has neither.
    """
    words = next((x for key in _WORDS if (x := _first(fields.get(key)))), "")
    tags = next((x for key in _TAGS if (x := _joined_tags(key, fields.get(key)))), "")
    return ", ".join(part for part in (words, tags) if part)


def _first(value: object) -> str:
    if isinstance(value, list):
        value = next((one for one in value if isinstance(one, str)), "")
    return value.strip() if isinstance(value, str) else ""


def _joined_tags(key: str, value: object) -> str:
    if isinstance(value, str):
        # A booru's tag_string separates by blanks and writes blanks as underscores.
        return ", ".join(value.split()) if key == "tag_string" else value.strip()
    if isinstance(value, Mapping):
        value = [tag for group in value.values() if isinstance(group, list) for tag in group]
    return (
        ", ".join(x.strip() for x in value if isinstance(x, str)) if isinstance(value, list) else ""
    )


def line_list(text: str, folder: str, resolver: Resolver) -> dict[str, Listed]:
    """Read a text file whose every line names a picture and its caption.

    Args:
        text: such as `a.png: red hat` in each line; tab, `|`, `:`, `,` or `=` may separate.
        folder: that holds the file.
        resolver: of the pictures.
    Returns:
        Captions by picture; nothing where one line names none, since it is another kind of file.
    """
    listed: dict[str, Listed] = {}
    for line in filter(str.strip, text.splitlines()):
        match = _LINE.match(line.strip())
        found = resolver.find(folder, match[1]) if match and is_image_name(match[1]) else []
        if match is None or not found:
            return {}
        listed |= dict.fromkeys(found, Listed(match[2].strip()))
    return listed


def _box(value: object, place: str) -> Box | None:
    """The box of one row; the largest where objects are listed, None where the cell is empty."""
    if isinstance(value, dict):
        found = [box for one in value.get("bbox") or () if (box := _box(one, place))]
        return max(found, key=lambda box: box[2] * box[3], default=None)
    numbers = re.split(r"[\s,;]+", value.strip("[]() ")) if isinstance(value, str) else value
    if numbers in (None, [], [""]):
        return None
    try:
        left, top, width, height = (float(x) for x in numbers)  # pyright: ignore[reportGeneralTypeIssues]
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
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)  # spreadsheets write what their country writes
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        yield from enumerate(reader, start=1)
    except csv.Error as error:
        raise FileRefused(f"{shown(name)}: not valid CSV: {error}") from None


def is_metadata(name: str) -> bool:
    """Whether a file is an imagefolder's metadata.

    Args:
        name: with its folders.
    Returns:
        By its name alone, in any letter case.
    """
    return name.rpartition("/")[2].lower() in METADATA_NAMES
