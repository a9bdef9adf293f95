"""docs/reliability.md names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_fault_has_a_line():
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)]
    assert numbers == list(range(1, 86))


def test_every_test_that_is_named_exists():
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 120
    gone = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^ *def {name}\(", (TESTS / path).read_text(encoding="utf-8"), re.M)
    ]
    assert gone == []


def test_a_line_without_a_test_says_so():
    rows = [line.split(" | ") for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    for number, _, tests, result in rows:
        assert (tests == "-") is result.startswith("not tested"), number
