"""The learner's record: which exercises were passed, in one small file on this machine."""

import time
from pathlib import Path

from workbench import store
from workbench.settings import SettingsError


def path() -> Path:
    """Where the record lies.

    Returns:
        `learner.json` beside the caches; WORKBENCH_HOME moves both.
    """
    return store.cache_home() / "learner.json"


def passed() -> dict[str, str]:
    """Read the record.

    Returns:
        Exercise ("03.add_noise") to the day on which it was first passed; empty for a new learner.
    Raises:
        SettingsError: the file holds something else.
    """
    if not path().exists():
        return {}
    found = store.read_json(path())
    if not isinstance(found, dict) or not isinstance(found.get("passed"), dict):
        raise SettingsError(
            f"{path()} must hold a table 'passed', got {str(found)[:80]!r}; delete it to begin anew"
        )
    return {str(name): str(day) for name, day in found["passed"].items()}


def note(exercise: str) -> None:
    """Write down that an exercise was passed; the first day counts.

    Args:
        exercise: its name.
    """
    days = {exercise: time.strftime("%Y-%m-%d")} | passed()
    store.write_json(path(), {"passed": dict(sorted(days.items()))})
