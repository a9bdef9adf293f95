"""The base of every settings class: frozen, bounded, explained."""

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from workbench.settings.errors import Misfit, SettingsError, explain
from workbench.settings.fields import ABSENT, can_be_absent, default_of, plain_types


class Settings(BaseModel):
    """Base of all settings: immutable, no unknown keys, no NaN or infinity, no guessed types.

    Lists are tuples. A setting that may be absent is None; where its default is something else,
    plain data and TOML say "none". A choice of methods is a union of settings discriminated by
    `kind`; leaving `kind` out keeps the kind of the default.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise SettingsError("\n".join(explain(type(self), error))) from None

    # pydantic would otherwise call __init__ for nested settings, and lose the path of a mistake.
    __init__.__pydantic_base_init__ = True  # pyright: ignore[reportFunctionMemberAccess]

    def __setattr__(self, name: str, value: Any) -> None:
        raise SettingsError(
            f"{name} cannot be changed in place; make a changed copy with override or replace"
        )

    @model_validator(mode="before")
    @classmethod
    def _read_plain_data(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        known = {name: value for name, value in data.items() if name in cls.model_fields}
        return data | {name: _plain(value, cls.model_fields[name]) for name, value in known.items()}


S = TypeVar("S", bound=Settings)


def _plain(value: Any, field: FieldInfo) -> Any:
    """Plain data as pydantic should see it."""
    if isinstance(value, dict) and "kind" not in value:
        kind = getattr(default_of(field), "kind", None)
        return value if kind is None else {"kind": kind, **value}
    if isinstance(value, str) and value.lower() == ABSENT and can_be_absent(field.annotation):
        return None
    return _typed(value, plain_types(field.annotation))


def _typed(value: Any, allowed: set[Any]) -> Any:
    """Keep pydantic from reading "5" and true as numbers and 1 as true: such a slip should show."""
    if isinstance(value, list | tuple):
        return tuple(_typed(one, allowed) for one in value)
    if not allowed <= {bool, int, float, str} or type(value) in allowed:
        return value
    slips = (isinstance(value, bool | str) and allowed & {int, float}) or (
        isinstance(value, int | float | str) and allowed == {bool}
    )
    return Misfit(value) if slips else value


def setting(
    default: Any = PydanticUndefined,
    *,
    help: str,
    unit: str | None = None,
    basic: bool = False,
    among: Callable[[], tuple[str, ...]] | None = None,
    **bounds: Any,
) -> Any:
    """Declare one setting with all that a form, a TOML comment and an error need to say about it.

    Args:
        default: value when the user says nothing; left out, the setting is required.
        help: one sentence for the user.
        unit: unit of the value, for example "px" or "steps".
        basic: shown in the short form of the app.
        among: lists what may be chosen, where that is known only when a form is drawn.
        bounds: pydantic constraints: ge, gt, le, lt, min_length, max_length, pattern.
    Returns:
        The field for the class body of a `Settings`.
    """
    extra: dict[str, Any] = {"basic": basic} | ({"unit": unit} if unit else {})
    extra |= {"among": among} if among else {}
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
        lines = explain(cls, error)
        raise SettingsError("\n".join(f"{source}: {x}" if source else x for x in lines)) from None


def as_dict(settings: Settings) -> dict[str, Any]:
    """Plain JSON-able data of the settings, which `from_dict` reads back to equal settings.

    Args:
        settings: any settings.
    Returns:
        Nested dict of str, int, float, bool and list. What is absent is left out, or "none" where
        leaving it out would bring a default back.
    """
    data: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            data[name] = as_dict(value)
        elif isinstance(value, tuple) and any(isinstance(one, Settings) for one in value):
            data[name] = [as_dict(one) for one in value]
        elif value is not None:
            data[name] = settings.model_dump(mode="json", include={name})[name]
        elif default_of(field) is not None:
            data[name] = ABSENT
    return data


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
    kept = {name: getattr(settings, name) for name in type(settings).model_fields}
    return from_dict(type(settings), kept | changes)
