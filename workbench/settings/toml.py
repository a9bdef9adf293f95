"""Settings as TOML, with each setting's help beside it, and back."""

import re
import textwrap
import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit
from pydantic.fields import FieldInfo

from workbench.settings.base import S, Settings, as_dict, from_dict
from workbench.settings.errors import SettingsError
from workbench.settings.fields import bounds

_BACKSLASH = re.compile(r'"[^"\n]*\\[^"\n]*"')
_ESCAPES = (
    "; a backslash in double quotes begins an escape: write a path in single quotes, as in "
    r"path = 'C:\Users\me\pictures'"
)


def from_toml(cls: type[S], text: str, *, source: str = "") -> S:
    """Read settings from TOML text.

    Args:
        cls: the settings class.
        text: TOML.
        source: file name put in front of errors.
    Returns:
        The settings.
    Raises:
        SettingsError: the text is not TOML, or a setting is wrong.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = _ESCAPES if _BACKSLASH.search(text) else ""
        raise SettingsError(f"{source or 'TOML'}: not valid TOML: {error}{hint}") from None
    return from_dict(cls, data, source=source)


def to_toml(
    settings: Settings, *, comments: bool = True, notes: Mapping[str, str] | None = None
) -> str:
    """Write settings as TOML that reads back to the same settings.

    Args:
        settings: what to write; absent values are left out, or "none" where the default is not.
        comments: put each setting's help beside it.
        notes: path of a setting to what stands above it, such as why it was chosen.
    Returns:
        TOML text.
    """
    document = tomlkit.document()
    _fill(document, settings, comments, _Notes(notes or {}))
    return tomlkit.dumps(document)


class _Notes:
    """What stands above some settings, by their path below here."""

    def __init__(self, notes: Mapping[str, str]):
        self._notes = notes

    def below(self, name: str | int) -> "_Notes":
        """The notes of the settings inside one."""
        start = f"{name}."
        inner = {k.removeprefix(start): v for k, v in self._notes.items() if k.startswith(start)}
        return _Notes(inner)

    def write(self, table: Any, name: str) -> None:
        """Put a setting's note where the table ends so far."""
        for line in textwrap.wrap(" ".join(self._notes.get(name, "").split()), 96):
            table.add(tomlkit.comment(line))


def _fill(table: Any, settings: Settings, comments: bool, notes: _Notes) -> None:
    """The kind, then plain values, then tables: TOML's rule."""
    tables: list[tuple[str, FieldInfo, Any]] = []
    plain = as_dict(settings)
    fields = type(settings).model_fields
    for name, field in sorted(fields.items(), key=lambda item: item[0] != "kind"):
        value = getattr(settings, name)
        many = isinstance(value, tuple) and len(value) > 0 and isinstance(value[0], Settings)
        if isinstance(value, Settings) or many:
            tables.append((name, field, value))
        elif name in plain:
            notes.write(table, name)
            table.add(name, _item(plain[name], field, comments))
    for name, field, value in tables:
        if isinstance(value, Settings):
            table.add(name, _table(value, field, comments, notes.below(name)))
            continue
        many_tables = tomlkit.aot()
        for index, one in enumerate(value):
            own = notes.below(name).below(index)
            many_tables.append(_table(one, field, comments, own))
        table.add(name, many_tables)


def _item(plain: Any, field: FieldInfo, comments: bool) -> Any:
    item = tomlkit.item(plain)
    if isinstance(plain, list) and len(str(plain)) > 60:
        item.multiline(True)  # pyright: ignore[reportAttributeAccessIssue]
    if comments and field.description:
        item.comment(_comment(field))
    return item


def _table(settings: Settings, field: FieldInfo, comments: bool, notes: _Notes) -> Any:
    table = tomlkit.table()
    if comments and field.description:
        table.comment(" ".join(field.description.split()))
    _fill(table, settings, comments, notes)
    return table


def _comment(field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    notes = [x for x in (extra.get("unit"), bounds(field)) if x]
    help = " ".join((field.description or "").split())  # a comment is one line
    return help + (f" ({', '.join(map(str, notes))})" if notes else "")
