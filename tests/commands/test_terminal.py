"""Numbers for people, and whose mistake an error is."""

import pytest

from workbench.commands import terminal
from workbench.settings import SettingsError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (60, "1 min 00 s"), (7810, "2 h 10 min")],
)
def test_durations(seconds: float, text: str):
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (3 << 19, "1.5 MiB"), (139 << 30, "139 GiB")],
)
def test_sizes(count: int, text: str):
    assert terminal.byte_size(count) == text


def test_mistakes_of_ours_are_told_from_the_users():
    try:
        raise SettingsError("raised here, outside the package")
    except SettingsError as error:
        assert not terminal.is_users_mistake(error)
