"""Changes to settings as `key=value` strings, as a command line gives them."""

import json
import re
import tomllib
from collections.abc import Sequence
from typing import Any

from workbench.settings.base import S, as_dict, from_dict
from workbench.settings.errors import SettingsError, locate
from workbench.settings.fields import ABSENT, is_list, plain_types

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def override(settings: S, assignments: Sequence[str]) -> S:
    """Change settings by `a.b=value` strings.

    `kind`s are set first, and drop the siblings of the old kind; `=none` removes a value that may
    be absent; `=+500` adds to a number; list items are reached by their index
    (`data.subsets.0.repeats=2`); a list of words may be written `a,b`.

    Args:
        settings: what to start from; it is not changed.
        assignments: strings of the form `key=value`; values are TOML or JSON, bare words strings.
    Returns:
        New, validated settings.
    Raises:
        SettingsError: no `=`, an unknown key (the nearest is named) or a value out of bounds.
    """
    data = as_dict(settings)
    parsed = [_parse(assignment) for assignment in assignments]
    # Kinds first, outer before inner: `adapter.rank=8 adapter.kind=lora` must not lose the rank.
    for path, text in sorted(parsed, key=lambda x: len(x[0]) if x[0][-1] == "kind" else 1000):
        annotation = getattr(locate(type(settings), path).field, "annotation", None)
        if path[-1].isdecimal():  # one item of the list
            annotation = _item_type(annotation)
        _assign(data, path, _value(text, annotation), text=text)
    return from_dict(type(settings), data)


def _parse(assignment: str) -> tuple[tuple[str, ...], str]:
    key, equals, text = assignment.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise SettingsError(f"{assignment!r} must have the form key=value, for example a.b=3")
    return path, text.strip()


def _assign(data: Any, path: Sequence[str], value: Any, *, text: str) -> None:
    """Put a value at `path` inside nested plain data."""
    *parents, last = path
    full = ".".join(path)
    for name in parents:
        data = _child(data, name, full)
    if isinstance(data, list):
        index = _index(data, last, full)
        data[index] = _sum(data[index], value, full) if _adds(text, value) else value
    elif not isinstance(data, dict):
        raise SettingsError(f"{full} is not a setting; {'.'.join(parents)} is a plain value")
    elif _adds(text, value):
        data[last] = _sum(data.get(last), value, full)
    elif last == "kind" and data.get("kind") != value:
        data.clear()
        data["kind"] = value
    else:
        data[last] = value


def _adds(text: str, value: Any) -> bool:
    return text.startswith("+") and isinstance(value, int | float)


def _sum(old: Any, value: Any, path: str) -> Any:
    if isinstance(old, bool) or not isinstance(old, int | float):
        raise SettingsError(f"{path} has no number that {value} could be added to; give the value")
    return old + value


def _child(data: Any, name: str, path: str) -> Any:
    """The nested container under `name`, made where a table is absent so far."""
    if isinstance(data, list):
        return data[_index(data, name, path)]
    if not isinstance(data, dict):
        raise SettingsError(f"{path} is not a setting; what holds {name} is a plain value")
    if data.get(name) == ABSENT:
        data[name] = {}
    return data.setdefault(name, {})


def _index(items: list[Any], name: str, path: str) -> int:
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    if not items:
        raise SettingsError(f"{path}: the list is still empty, so it has no item {name}")
    raise SettingsError(
        f"{path}: {name!r} must be the index of one of {len(items)} items (0 to {len(items) - 1})"
    )


def _value(text: str, annotation: Any) -> Any:
    """A TOML value, or the text itself when it is no TOML or the setting holds text."""
    wants = plain_types(annotation)
    try:
        value = tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        value = float(text) if _NUMBER.fullmatch(text) else text
        if value == text and wants != {str}:
            value = _from_json(text)
    if bool in wants and text.lower() in ("true", "false"):  # Python's spelling too
        return text.lower() == "true"
    if is_list(annotation) and isinstance(value, str) and value.lower() != ABSENT:
        words = value.removeprefix("[").removesuffix("]").split(",")
        item = _item_type(annotation)
        return [_value(word.strip(), item) for word in words if word.strip()]
    # A name may look like a number or a date: a folder called 2024, a run called 007.
    return text if wants == {str} and not isinstance(value, str | list | dict) else value


def _from_json(text: str) -> Any:
    """A list or table as JSON writes it; all else is the text itself."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, list | dict) else text


def _item_type(annotation: Any) -> Any:
    return str if plain_types(annotation) == {str} else None
