"""Settings that follow from something, each with its reason: an intent, a base, a machine."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from workbench.settings.base import Settings, as_dict
from workbench.settings.fields import ABSENT
from workbench.settings.overrides import override

S = TypeVar("S", bound=Settings)
_LONGEST = 60  # characters of a value on a line


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting that follows from something.

    Attributes:
        setting: its path in a recipe.
        value: what it is set to.
        reason: why, in a sentence or two.
        accepted: the only values that what it follows from takes; empty: any.
    """

    setting: str
    value: Any
    reason: str
    accepted: tuple[Any, ...] = ()

    @property
    def assignment(self) -> str:
        """The setting as `override` takes it."""
        return f"{self.setting}={ABSENT if self.value is None else _json(self.value)}"

    @property
    def line(self) -> str:
        """The setting and its value on one line, for people."""
        shown = self.value
        if isinstance(shown, list):  # tables by what they are about: a path, a pattern
            shown = [next(iter(x.values())) if isinstance(x, dict) else x for x in shown]
        text = ABSENT if shown is None else _json(shown)
        return f"{self.setting} = {text if len(text) <= _LONGEST else f'{text[:_LONGEST]}...'}"


def follow(advice: Iterable[Advice], settings: S) -> S:
    """Follow advice.

    Args:
        advice: of an intent or a base.
        settings: what to change.
    Returns:
        New settings.
    Raises:
        SettingsError: a setting does not exist in them, such as the rank of a full fine-tune.
    """
    return override(settings, [one.assignment for one in advice])


def kept(advice: Iterable[Advice], settings: Settings) -> tuple[Advice, ...]:
    """The advice that settings still follow, after the user's own changes.

    Args:
        advice: that was followed.
        settings: after further overrides.
    Returns:
        Those whose setting has the advised value.
    """
    return tuple(one for one in advice if _same(settings, one))


def _same(settings: Settings, one: Advice) -> bool:
    return exists(settings, one.setting) and value(settings, one.setting) == one.value


def exists(settings: Settings, path: str) -> bool:
    """Whether settings have a setting: the rank of a full fine-tune does not exist.

    Args:
        settings: any settings.
        path: names joined by dots.
    Returns:
        False also where a group above it is absent.
    """
    *parents, last = path.split(".")
    found: Any = settings
    for name in parents:
        found = getattr(found, name, None)
    return isinstance(found, Settings) and last in type(found).model_fields


def value(settings: Settings, path: str) -> Any:
    """Read a setting by its path.

    Args:
        settings: any settings.
        path: names joined by dots.
    Returns:
        Plain data as `Advice.value` holds it; None where it is absent or does not exist.
    """
    found: Any = settings
    for name in path.split("."):
        found = getattr(found, name, None)
    return _plain(found)


def _plain(found: Any) -> Any:
    if isinstance(found, Settings):
        return as_dict(found)
    return [_plain(one) for one in found] if isinstance(found, tuple) else found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
