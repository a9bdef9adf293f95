"""All settings of a tree, one after the other, as a form shows them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import tomlkit
from pydantic.fields import FieldInfo

from workbench.settings.base import Settings, as_dict
from workbench.settings.fields import (
    ABSENT,
    bounds,
    can_be_absent,
    choices,
    is_list,
    limits,
    models,
    plain_types,
    tag,
)

Control = Literal[
    "choice", "toggle", "whole", "number", "text", "words", "numbers", "presence", "tables"
]


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting with all that a form needs to show it and to take an answer.

    Attributes:
        path: as `override` takes it, for example `data.subsets.0.trigger`.
        control: what kind of value it has; `presence` is a group that may be absent as a whole,
            `tables` a list of groups in one line of TOML.
        value: its plain value; None where it is absent.
        choices: what may be chosen; empty for free values.
        optional: whether it may be absent.
        lowest: smallest number, None without a bound.
        highest: largest number, None without a bound.
        help: one sentence.
        unit: of the value; empty without one.
        bounds: the bounds in words.
        basic: whether the short form shows it.
    """

    path: str
    control: Control
    value: Any
    choices: tuple[Any, ...]
    optional: bool
    lowest: float | None
    highest: float | None
    help: str
    unit: str
    bounds: str
    basic: bool

    def assignment(self, value: Any) -> str:
        """A new value of this setting, as `override` takes it.

        Args:
            value: plain; None or an empty text takes an optional setting away.
        Returns:
            For example `adapter.rank=8`.
        """
        if self.control == "tables":
            return f"{self.path}={value or '[]'}"
        if self.control == "presence":
            return f"{self.path}={'{}' if value else ABSENT}"
        if value is None or (value == "" and self.optional):
            return f"{self.path}={ABSENT}"
        if self.control == "whole" and isinstance(value, float) and value.is_integer():
            value = int(value)
        return f"{self.path}={json.dumps(value, ensure_ascii=False)}"


def walk(settings: Settings, prefix: str = "") -> Iterator[Entry]:
    """List the settings of a tree, those of the chosen kinds among them.

    Args:
        settings: any settings.
        prefix: what stands before every path, with its dot.
    Yields:
        Entries in the order of their declaration; a choice of kinds comes before what it holds.
    """
    plain = as_dict(settings)
    for name, field in type(settings).model_fields.items():
        value, path = getattr(settings, name), f"{prefix}{name}"
        kinds = tuple(kind for kind in map(tag, models(field.annotation)) if kind)
        if name == "kind":
            continue
        if is_list(field.annotation) and any(True for _ in models(field.annotation)):
            yield _entry(path, field, "tables", inline(plain.get(name, [])))
            for index, one in enumerate(value or ()):
                yield from walk(one, f"{path}.{index}.")
        elif not any(True for _ in models(field.annotation)):
            shown = plain.get(name)
            yield _entry(path, field, _control(field), None if shown == ABSENT else shown)
        elif isinstance(value, Settings):
            if can_be_absent(field.annotation):
                yield _entry(path, field, "presence", True)
            if len(kinds) > 1:
                kind = getattr(value, "kind", None)
                yield _entry(f"{path}.kind", field, "choice", kind, among=kinds)
            yield from walk(value, f"{path}.")
        elif value is None:
            yield _entry(path, field, "presence", False)


def inline(value: Any) -> str:
    """Write plain data as TOML on one line.

    Args:
        value: nested plain data.
    Returns:
        For example `[{match = "unet.mid_block.*", rank = 4}]`.
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {inline(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return tomlkit.item(value).as_string()


def _entry(
    path: str, field: FieldInfo, control: Control, value: Any, *, among: tuple[Any, ...] = ()
) -> Entry:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    lowest, highest = limits(field)
    if "among" in extra:
        control, among = "choice", extra["among"]()  # pyright: ignore
    return Entry(
        path=path,
        control=control,
        value=value,
        choices=among or (choices(field.annotation) if control == "choice" else ()),
        optional=control != "presence" and can_be_absent(field.annotation),
        lowest=lowest,
        highest=highest,
        help=" ".join((field.description or "").split()),
        unit=str(extra.get("unit", "")),
        bounds=bounds(field),
        basic=bool(extra.get("basic")),
    )


def _control(field: FieldInfo) -> Control:
    types = plain_types(field.annotation)
    if is_list(field.annotation):
        return "words" if types == {str} else "numbers"
    if choices(field.annotation) and types == {str}:
        return "choice"
    if types == {bool}:
        return "toggle"
    if types == {int}:
        return "whole"
    return "number" if types <= {int, float} else "text"


def differences(one: Settings, other: Settings) -> dict[str, tuple[Any, Any]]:
    """What is set otherwise in two trees.

    Args:
        one: settings.
        other: settings of the same class.
    Returns:
        Path to both plain values, None where one has no such setting, sorted by path.
    """
    first, second = _flat(as_dict(one)), _flat(as_dict(other))
    return {
        path: (first.get(path), second.get(path))
        for path in sorted(first.keys() | second.keys())
        if first.get(path) != second.get(path)
    }


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested plain data by dotted path; lists of settings by their index."""
    if isinstance(data, dict):
        return {
            k: v for name, one in data.items() for k, v in _flat(one, f"{prefix}{name}.").items()
        }
    if isinstance(data, list) and data and isinstance(data[0], dict):
        return _flat({str(index): one for index, one in enumerate(data)}, prefix)
    return {prefix[:-1]: data}
