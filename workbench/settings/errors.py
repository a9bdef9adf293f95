"""Mistakes in settings, said in our words: which key, which rule, what was given, what to do."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from workbench.settings.fields import bounds, models, plain_types, tag

Model = type[BaseModel]

# pydantic's names of broken rules, in words that follow "must be".
_RULES = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table of settings",
    "model_type": "a table of settings",
    "model_attributes_type": "a table of settings",
    "none_required": "absent",
}


class SettingsError(ValueError):
    """A setting is unknown, out of bounds or contradicts another: the user's to mend."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """Stands for a value of the wrong type that pydantic would bend until it fits."""

    value: Any


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a tree of settings a key leads."""

    path: str
    owner: Model  # the class that holds the last key
    siblings: tuple[Model, ...]  # all members of the union that the owner was chosen from
    field: FieldInfo | None  # None for an unknown key


def locate(root: Model, location: Sequence[int | str]) -> Place:
    """Follow a key through a tree of settings.

    Args:
        root: the outermost settings class.
        location: names and list indices; the tags by which pydantic marks a union's choice too.
    Returns:
        The place; its path holds neither tags nor other marks of pydantic's.
    """
    names: list[str] = []
    owners: tuple[Model, ...] = (root,)
    siblings = owners
    field: FieldInfo | None = None
    for part in location:
        if isinstance(part, int) or part.isdecimal():
            names.append(str(part))
            continue
        tagged = tuple(owner for owner in owners if len(owners) > 1 and tag(owner) == part)
        if tagged:
            owners = tagged
            continue
        found = next((o.model_fields[part] for o in owners if part in o.model_fields), None)
        if found is None and field is not None and plain_types(field.annotation):
            continue  # the name of a type in a union of plain types
        names.append(part)
        field = found
        if field is not None and (inner := tuple(models(field.annotation))):
            owners = siblings = inner
    return Place(".".join(names), next(iter(owners)), siblings, field)


def explain(root: Model, error: ValidationError) -> list[str]:
    """All mistakes that pydantic found, one sentence each.

    Args:
        root: the class that was validated.
        error: what pydantic raised.
    Returns:
        Sentences with the key, the rule, the value and the fix.
    """
    rules: dict[str, list[str]] = {}
    ends: dict[str, str] = {}
    sentences: dict[str, None] = {}  # an ordered set: a union may say the same thing twice
    for detail in error.errors():
        place = locate(root, detail["loc"])
        if special := _special(root, place, detail):
            sentences[special] = None
            continue
        # One value that fits no member of a union of plain types breaks several rules at once.
        rules.setdefault(place.path, []).append(_rule(place, detail))
        ends[place.path] = f", got {_shown(detail['input'])}{_help(place)}"
    for path, broken in rules.items():
        rule = " or ".join(dict.fromkeys(broken)).replace(" or be ", " or ")
        sentences[f"{path or root.__name__} must {rule}{ends[path]}"] = None
    return list(sentences)


def _special(root: Model, place: Place, detail: ErrorDetails) -> str:
    """Mistakes that are more than a value that breaks its rule."""
    kind, context, path = detail["type"], detail.get("ctx", {}), place.path
    if kind == "extra_forbidden":
        return f"{path} is not a setting; {_nearest(root, place)}"
    if kind == "union_tag_invalid":
        kinds = context["expected_tags"].replace("'", "").split(", ")
        near = difflib.get_close_matches(str(context["tag"]), kinds, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{path}.kind must be one of {', '.join(kinds)}, got {context['tag']!r}{hint}"
    if kind == "union_tag_not_found":
        kinds = ", ".join(filter(None, map(tag, place.siblings)))
        return f"{path}.kind is required: one of {kinds}"
    if kind == "missing" and isinstance(detail["loc"][-1], int):  # a list of fixed length
        parent = path.rpartition(".")[0]
        return f"{parent} has too few items, got {_shown(detail['input'])}{_help(place)}"
    if kind == "missing":
        return f"{path} is required{_help(place, ': ')}"
    if kind == "value_error":  # raised by a validator of ours, which says all there is to say
        return f"{path}: {context['error']}" if path else str(context["error"])
    return ""


def _rule(place: Place, detail: ErrorDetails) -> str:
    """The broken rule, to stand behind "must"."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind.startswith(("greater", "less")) and place.field:
        rule = bounds(place.field)
        return f"be {rule}" if rule else f"be {detail['msg'].removeprefix('Input should be ')}"
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        limit = context.get("min_length", context.get("max_length"))
        things = "characters" if kind.startswith("string") else "items"
        return f"have at {'least' if 'min_length' in context else 'most'} {limit} {things}"
    if kind == "string_pattern_mismatch":
        return f"match {context['pattern']}"
    if kind == "literal_error":
        return f"be {context['expected']}"
    return f"be {_RULES.get(kind) or detail['msg'].removeprefix('Input should be ')}"


def _help(place: Place, mark: str = "; ") -> str:
    if place.field is None or not place.field.description:
        return ""
    return mark + " ".join(place.field.description.split())


def _shown(value: Any) -> str:
    """The value as it was written, cut where it would bury the sentence."""
    value = value.value if isinstance(value, Misfit) else value
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _nearest(root: Model, place: Place) -> str:
    """Which key was meant: of another kind, among the siblings, or anywhere in the tree."""
    prefix, _, leaf = place.path.rpartition(".")
    others = [tag(o) for o in place.siblings if o is not place.owner and leaf in o.model_fields]
    if others:
        kinds = " or ".join(repr(kind) for kind in others)
        return f"it belongs to {prefix}.kind = {kinds}, and this is {tag(place.owner)!r}"
    near = difflib.get_close_matches(leaf, place.owner.model_fields, n=1)
    if near:
        return f"did you mean {prefix + '.' if prefix else ''}{near[0]}?"
    leaves = {path.rpartition(".")[2]: path for path in reversed(list(_paths(root)))}
    near = difflib.get_close_matches(leaf, leaves, n=1)
    if near:
        return f"did you mean {leaves[near[0]]}?"
    return f"{prefix or 'the settings'} may hold: {', '.join(place.owner.model_fields)}"


def _paths(model: Model, prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for child in models(field.annotation):
            yield from _paths(child, f"{prefix}{name}.")
