"""The base of every settings class: frozen, bounded, explained, and spelled the same in every face.

A setting is declared once, beside the code it steers. The TOML file, `key=value` overrides, forms,
documentation tables and error messages are all made from that one declaration.
"""

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, get_args

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

__all__ = ["Settings", "SettingsError", "from_dict", "from_toml", "override", "setting", "to_toml"]


class SettingsError(ValueError):
    """A setting is unknown, out of bounds or contradicts another: the user's to mend."""


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys, no NaN or infinity.

    Lists are tuples; a setting that may be absent is None by default and omitted from TOML.
    A choice of methods is a union of settings discriminated by `kind`; leaving `kind` out keeps
    the kind of the default.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _keep_default_kind(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        for name, field in cls.model_fields.items():
            default = field.get_default(call_default_factory=True) if _has_default(field) else None
            value = filled.get(name)
            if isinstance(value, dict) and "kind" not in value and hasattr(default, "kind"):
                filled[name] = {"kind": default.kind, **value}
        return filled


S = TypeVar("S", bound=Settings)


def setting(
    default: Any = PydanticUndefined,
    *,
    help: str,
    unit: str | None = None,
    basic: bool = False,
    **bounds: Any,
) -> Any:
    """Declare one setting with all that a form, a TOML comment and an error need to say about it.

    Args:
        default: value when the user says nothing; left out, the setting is required.
        help: one sentence for the user.
        unit: unit of the value, for example "px" or "steps".
        basic: shown in the short form of the app.
        bounds: pydantic constraints: ge, gt, le, lt, min_length, max_length, pattern.
    Returns:
        The field for the class body of a `Settings`.
    """
    extra: dict[str, Any] = {"basic": basic} | ({"unit": unit} if unit else {})
    return Field(default, description=help, json_schema_extra=extra, **bounds)


def from_dict(cls: type[S], data: dict[str, Any], *, source: str = "") -> S:
    """Validate plain data into settings.

    Args:
        cls: the settings class.
        data: nested plain data, as TOML or JSON gives it.
        source: file name put in front of errors.
    Returns:
        The settings.
    Raises:
        SettingsError: one line per mistake, each with the key, the rule, the value and the fix.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        lines = [_explain(cls, detail) for detail in error.errors()]
        raise SettingsError("\n".join(f"{source}: {x}" if source else x for x in lines)) from None


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
        raise SettingsError(f"{source or 'TOML'}: not valid TOML: {error}") from None
    return from_dict(cls, data, source=source)


def to_toml(settings: Settings, *, comments: bool = True) -> str:
    """Write settings as TOML that reads back to the same settings.

    Args:
        settings: what to write; absent values (None) are left out.
        comments: put each setting's help beside it.
    Returns:
        TOML text.
    """
    document = tomlkit.document()
    _fill(document, settings, comments)
    return tomlkit.dumps(document)


def override(settings: S, assignments: Sequence[str]) -> S:
    """Change settings by `a.b=value` strings.

    Overriding `kind` drops the siblings of the old kind; `=none` removes a value; `=+500` adds to
    a number; list items are reached by their index (`data.subsets.0.repeats=2`).

    Args:
        settings: what to start from; it is not changed.
        assignments: strings of the form `key=value`; values are TOML, bare words are strings.
    Returns:
        New, validated settings.
    Raises:
        SettingsError: no `=`, an unknown key (the nearest is named) or a value out of bounds.
    """
    data = settings.model_dump(mode="json", exclude_none=True)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"{assignment!r} must have the form key=value")
        _assign(data, key.strip().split("."), text.strip())
    return from_dict(type(settings), data)


def _assign(data: Any, path: list[str], text: str) -> None:
    """Put the value of `text` at `path` inside nested plain data."""
    *parents, last = path
    for name in parents:
        data = _child(data, name, ".".join(path))
    if isinstance(data, list):
        data[_index(data, last, ".".join(path))] = _value(text)
    elif not isinstance(data, dict):
        raise SettingsError(f"{'.'.join(path)}: {'.'.join(parents)} is a value, not a table")
    elif text.lower() in ("none", "null"):
        data.pop(last, None)
    elif text.startswith("+") and isinstance(data.get(last), int | float):
        value = _value(text)
        if not isinstance(value, int | float):
            raise SettingsError(f"{'.'.join(path)} must be +number to be added to, got {text!r}")
        data[last] += value
    else:
        value = _value(text)
        if last == "kind" and data.get("kind") != value:
            data.clear()
        data[last] = value


def _child(data: Any, name: str, path: str) -> Any:
    """The nested container under `name`, made where a table is absent so far."""
    if isinstance(data, list):
        return data[_index(data, name, path)]
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: {name} is inside a plain value, not a table")
    return data.setdefault(name, {})


def _index(items: list[Any], name: str, path: str) -> int:
    if name.isdecimal() and int(name) < len(items):
        return int(name)
    raise SettingsError(
        f"{path}: {name!r} must be the index of one of {len(items)} items (0 to {len(items) - 1})"
    )


def _value(text: str) -> Any:
    """A TOML value, or the text itself when it is no TOML."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _fill(table: Any, settings: Settings, comments: bool) -> None:
    """Plain values first, then tables: TOML's rule."""
    tables: list[tuple[str, FieldInfo, Any]] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value is None:
            continue
        many = isinstance(value, tuple) and len(value) > 0 and isinstance(value[0], Settings)
        if isinstance(value, Settings) or many:
            tables.append((name, field, value))
            continue
        plain = settings.model_dump(mode="json", include={name})[name]
        item = tomlkit.item(plain)
        if isinstance(plain, list) and len(str(plain)) > 60:
            item.multiline(True)  # pyright: ignore[reportAttributeAccessIssue]
        if comments and field.description:
            item.comment(_comment(field))
        table.add(name, item)
    for name, field, value in tables:
        if isinstance(value, Settings):
            table.add(name, _table(value, field, comments))
            continue
        many_tables = tomlkit.aot()
        for one in value:
            many_tables.append(_table(one, field, comments))
        table.add(name, many_tables)


def _table(settings: Settings, field: FieldInfo, comments: bool) -> Any:
    table = tomlkit.table()
    if comments and field.description:
        table.comment(field.description)
    _fill(table, settings, comments)
    return table


def _comment(field: FieldInfo) -> str:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    notes = [x for x in (extra.get("unit"), _bounds(field)) if x]
    return f"{field.description}" + (f" ({', '.join(map(str, notes))})" if notes else "")


def _has_default(field: FieldInfo) -> bool:
    return field.default is not PydanticUndefined or field.default_factory is not None


def _bounds(field: FieldInfo) -> str:
    """The bounds in mathematical words: `in [0, 1)`, `>= 1`."""
    found: dict[str, Any] = {}
    for rule in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if (value := getattr(rule, name, None)) is not None:
                found[name] = value
    low = found.get("ge", found.get("gt"))
    high = found.get("le", found.get("lt"))
    if low is not None and high is not None:
        return f"in {'[' if 'ge' in found else '('}{low}, {high}{']' if 'le' in found else ')'}"
    if low is not None:
        return f"{'>=' if 'ge' in found else '>'} {low}"
    if high is not None:
        return f"{'<=' if 'le' in found else '<'} {high}"
    return ""


def _explain(cls: type[Settings], detail: ErrorDetails) -> str:
    """One mistake in our words: key, rule, value, fix."""
    path, owner, field = _locate(cls, detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{path} is not a setting; {_nearest(cls, owner, path)}"
    if kind == "union_tag_invalid":
        choices = context["expected_tags"].replace("'", "").split(", ")
        near = difflib.get_close_matches(str(context["tag"]), choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{path}.kind must be one of {', '.join(choices)}, got {context['tag']!r}{hint}"
    if kind == "missing":
        return f"{path} is required: {field.description if field else ''}".rstrip(": ")
    if kind == "value_error":  # raised by a validator of ours, which says all there is to say
        return f"{path}: {context['error']}" if path else str(context["error"])
    rule = (_bounds(field) if field and kind.startswith(("greater", "less")) else "") or detail[
        "msg"
    ].removeprefix("Input should be ").removeprefix("Value should be ").removeprefix("Input ")
    help_text = f"; {field.description}" if field and field.description else ""
    verb = "" if rule.startswith("should") else "must be "
    return f"{path} {verb}{rule}, got {detail['input']!r}{help_text}"


def _locate(
    cls: type[Settings], location: Sequence[int | str]
) -> tuple[str, type[Settings], FieldInfo | None]:
    """Dotted path, class that owns the last key, and its field; union tags are left out."""
    names: list[str] = []
    owners: list[type[Settings]] = [cls]
    field: FieldInfo | None = None
    for part in location:
        if isinstance(part, int):
            names.append(str(part))
            continue
        tagged = [o for o in owners if len(owners) > 1 and _tag(o) == part]
        if tagged:
            owners = tagged
            continue
        names.append(part)
        field = next((o.model_fields[part] for o in owners if part in o.model_fields), None)
        if field is not None:
            owners = list(_classes(field.annotation)) or owners
    return ".".join(names), owners[0], field


def _tag(cls: type[Settings]) -> str | None:
    field = cls.model_fields.get("kind")
    return field.default if field is not None else None


def _classes(annotation: Any) -> Iterator[type[Settings]]:
    """All settings classes named inside an annotation: optional, union, tuple."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


def _nearest(root: type[Settings], owner: type[Settings], path: str) -> str:
    """The nearest known key, first among the siblings, then anywhere in the tree."""
    leaf, prefix = path.rpartition(".")[2], path.rpartition(".")[0]
    near = difflib.get_close_matches(leaf, owner.model_fields, n=1)
    if near:
        return f"did you mean {prefix + '.' if prefix else ''}{near[0]}?"
    known = list(_paths(root))
    leaves = {p.rpartition(".")[2]: p for p in reversed(known)}
    near = difflib.get_close_matches(leaf, leaves, n=1)
    if near:
        return f"did you mean {leaves[near[0]]}?"
    return f"{prefix or 'the settings'} may hold: {', '.join(owner.model_fields)}"


def _paths(cls: type[Settings], prefix: str = "") -> Iterator[str]:
    for name, field in cls.model_fields.items():
        yield prefix + name
        for child in _classes(field.annotation):
            yield from _paths(child, f"{prefix}{name}.")


def replace(settings: S, **changes: Any) -> S:
    """A copy with some fields changed and everything validated again.

    Args:
        settings: what to start from.
        changes: field name to new value.
    Returns:
        The new settings.
    Raises:
        SettingsError: a change is out of bounds.
    """
    return from_dict(type(settings), settings.model_dump() | changes)


def as_dict(settings: Settings) -> dict[str, Any]:
    """Plain JSON-able data of the settings, absent values left out.

    Args:
        settings: any settings.
    Returns:
        Nested dict of str, int, float, bool and list.
    """
    return settings.model_dump(mode="json", exclude_none=True)
