"""What a declared field says about itself: its bounds, its choices, the settings it can hold."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ABSENT = "none"  # how a value that is absent, though its default is not, is written in plain data


def default_of(field: FieldInfo) -> Any:
    """The default of a field.

    Args:
        field: any field.
    Returns:
        Its default; None where it is required.
    """
    if field.default is PydanticUndefined and field.default_factory is None:
        return None
    return field.get_default(call_default_factory=True)


def bounds(field: FieldInfo) -> str:
    """The bounds of a number in mathematical words.

    Args:
        field: any field.
    Returns:
        For example `in [0, 1)` or `>= 1`; empty without bounds.
    """
    found = _rules(field)
    low = found.get("ge", found.get("gt"))
    high = found.get("le", found.get("lt"))
    if low is not None and high is not None:
        return f"in {'[' if 'ge' in found else '('}{low}, {high}{']' if 'le' in found else ')'}"
    if low is not None:
        return f"{'>=' if 'ge' in found else '>'} {low}"
    if high is not None:
        return f"{'<=' if 'le' in found else '<'} {high}"
    return ""


def limits(field: FieldInfo) -> tuple[float | None, float | None]:
    """The bounds of a number, whether they belong to it or not.

    Args:
        field: any field.
    Returns:
        Lowest and highest; None without one.
    """
    found = _rules(field)
    return found.get("ge", found.get("gt")), found.get("le", found.get("lt"))


def _rules(field: FieldInfo) -> dict[str, Any]:
    pairs = [(name, rule) for rule in field.metadata for name in ("ge", "gt", "le", "lt")]
    return {name: value for name, rule in pairs if (value := getattr(rule, name, None)) is not None}


def can_be_absent(annotation: Any) -> bool:
    """Whether None is a value of this field and the word "none" is not.

    Args:
        annotation: the field's annotation.
    Returns:
        True for `X | None`, unless X has a choice called "none".
    """
    is_union = get_origin(annotation) in (Union, UnionType)
    return is_union and NoneType in get_args(annotation) and ABSENT not in choices(annotation)


def choices(annotation: Any) -> tuple[Any, ...]:
    """All values of the literals inside an annotation.

    Args:
        annotation: a field's annotation.
    Returns:
        The values, in order.
    """
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(choice for part in _parts(annotation) for choice in choices(part))


def plain_types(annotation: Any) -> set[Any]:
    """The types that a field's plain values may have, those inside lists included.

    Args:
        annotation: a field's annotation.
    Returns:
        Types, for example {int, str}; other settings and None are left out.
    """
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if parts := _parts(annotation):
        return {found for part in parts for found in plain_types(part)}
    if annotation in (NoneType, Ellipsis) or _is_model(annotation):
        return set()
    return {annotation}


def is_list(annotation: Any) -> bool:
    """Whether a field holds a list.

    Args:
        annotation: a field's annotation.
    Returns:
        True for tuples, and for optional tuples.
    """
    if get_origin(annotation) is tuple:
        return True
    return any(get_origin(part) is tuple for part in _parts(annotation))


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """All settings classes named inside an annotation: optional, union, tuple.

    Args:
        annotation: a field's annotation.
    Yields:
        The classes, in order.
    """
    if _is_model(annotation):
        yield annotation
    for part in _parts(annotation):
        yield from models(part)


def tag(model: type[BaseModel]) -> str | None:
    """The kind by which a union tells its members apart.

    Args:
        model: a settings class.
    Returns:
        The default of its `kind`; None without one.
    """
    field = model.model_fields.get("kind")
    return field.default if field is not None else None


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The types an annotation is made of; the metadata of `Annotated` is left out."""
    if hasattr(annotation, "__metadata__"):
        return (annotation.__origin__,)
    return () if get_origin(annotation) is Literal else get_args(annotation)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
