"""What commands print: lines, tables, numbers for people, and the user's mistakes in red."""

import contextlib
import os
import sys
import traceback
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.markup import escape

PACKAGE = Path(__file__).parents[1]
# Of many processes that share a run, the first one speaks.
FIRST_PROCESS = os.environ.get("RANK", "0") == "0"

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="settings to change, for example adapter.rank=8"),
]


class _Surviving:
    """A standard stream that may go away: a closed terminal or pipe must not end a run."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == "rich_proxied_file":  # rich would write past this object while a bar is shown
            return self
        return getattr(self._stream, name)

    @property
    def _stream(self) -> Any:
        """The stream of this moment; while rich shows a bar, the one behind its stand-in."""
        stream = getattr(sys, self._name)
        return getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        """Write; nothing where nobody can read it any more."""
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush; likewise."""
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Send what follows nowhere, also what libraries print."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


_STREAMS = _Surviving("stdout"), _Surviving("stderr")
console = Console(
    file=cast(IO[str], _STREAMS[0]), quiet=not FIRST_PROCESS, highlight=False, soft_wrap=True
)
error_console = Console(file=cast(IO[str], _STREAMS[1]), highlight=False, soft_wrap=True)


def let_go_of_terminal() -> None:
    """Print nothing more to a terminal that is closed; files and pipes are written on."""
    for stream in _STREAMS:
        if stream.isatty():
            stream._drop()


def duration(seconds: float) -> str:
    """Write a span of time for people.

    Args:
        seconds: >= 0.
    Returns:
        For example "4.2 s", "3 min 05 s", "2 h 10 min" or "3 d 04 h".
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24:,} d {hours % 24:02d} h"


def byte_size(num_bytes: float) -> str:
    """Write a size for people.

    Args:
        num_bytes: >= 0.
    Returns:
        For example "640 KiB" or "2.1 GiB".
    """
    size, units = float(num_bytes), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1000 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.3g} {unit}"


def say(text: str = "", *, style: str | None = None) -> None:
    """Print one line of plain text; brackets in it are text, not markup.

    Args:
        text: the line.
        style: rich style of the whole line, for example "bold green".
    """
    console.print(escape(_visible(text)), style=style)


def complain(text: str) -> None:
    """Print the user's mistake, with its fix, on standard error.

    Args:
        text: one line a mistake.
    """
    error_console.print(escape(_visible(text)), style="bold red")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, whole words wherever the terminal is narrow.

    Args:
        header: one title a column.
        rows: plain text, as many cells as titles.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(*header, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        grid.add_row(*(escape(_visible(cell)) for cell in row))
    console.print(grid)


def _visible(text: str) -> str:
    """Text with what a terminal would obey as escapes: names and captions come from anywhere."""
    return "".join(
        ascii(letter)[1:-1]
        if unicodedata.category(letter) in ("Cc", "Cs") and letter != "\n"
        else letter
        for letter in text
    )


def is_users_mistake(error: ValueError) -> bool:
    """Tell the user's mistakes from ours: the code here raises ValueError for the former only.

    One from inside a library says nothing about who is to blame, so it keeps its traceback.

    Args:
        error: as caught.
    Returns:
        Whether it was raised in this package.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return Path(frame.f_code.co_filename).is_relative_to(PACKAGE)
