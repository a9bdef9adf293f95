"""Cells run out of order: the error names the cell that is missing."""

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"name '(\w+)' is not defined")


def explain(error: NameError, cells: Mapping[str, str]) -> None:
    """Add to an error which cell makes the name that is missing.

    Args:
        error: as Python raised it; its message grows.
        cells: name to the first line of the cell that makes it.
    """
    found = _NAME.match(str(error))
    if found and found[1] in cells:
        cell = cells[found[1]].lstrip("# ")
        error.args = (
            f"{error}: the cell '{cell}' makes it; run that cell first, or all cells above this "
            "one",
        )


def watch_names(cells: Mapping[str, str]) -> None:
    """Explain missing names from now on, in the notebook that calls this.

    Args:
        cells: name to the first line of the cell that makes it.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        return

    def handle(shell: Any, kind: Any, error: NameError, trace: Any, tb_offset: Any = None) -> Any:
        explain(error, cells)
        return shell.showtraceback((kind, error, trace), tb_offset=tb_offset)

    shell.set_custom_exc((NameError,), handle)
