"""A command of the workbench, run in the process of the tests."""

import pytest

from workbench import cli


def run(*arguments: str) -> int:
    """Run a command in this process and give its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return int(left.value.code or 0)
