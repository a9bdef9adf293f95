"""Settings that follow from something, each with its reason: an intent, a base, a machine."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from workbench.settings.base import Settings
from workbench.settings.overrides import override

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting that follows from something.

    Attributes:
        setting: its path in a recipe.
        value: what it is set to.
        reason: why, in a sentence or two.
    """

    setting: str
    value: Any
    reason: str

    @property
    def assignment(self) -> str:
        """The setting as `override` takes it."""
        return f"{self.setting}={json.dumps(self.value, ensure_ascii=False)}"


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
    return tuple(one for one in advice if _value(settings, one.setting) == one.value)


def _value(settings: Settings, path: str) -> Any:
    found: Any = settings
    for name in path.split("."):
        found = getattr(found, name, None)
    return list(found) if isinstance(found, tuple) else found
