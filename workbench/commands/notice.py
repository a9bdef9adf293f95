"""A machine that says beforehand that it will be taken away: a file appears, or a command succeeds.

Both are properties of the machine and given on its command line or in its environment, never in a
recipe: a recipe that came from elsewhere must not name a command.
"""

import contextlib
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.terminal import FIRST_PROCESS

if TYPE_CHECKING:
    from workbench.training.run import Run

POLL_S = 2.0
COMMAND_TIMEOUT_S = 10.0

NoticeFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="WORKBENCH_NOTICE_FILE",
        help="save and leave as on SIGTERM when this file appears.",
    ),
]
NoticeCommand = Annotated[
    str | None,
    typer.Option(
        metavar="CMD",
        envvar="WORKBENCH_NOTICE_COMMAND",
        help="likewise when this command, run every few seconds without a shell, ends with code 0.",
    ),
]


@dataclass(frozen=True, slots=True)
class Notice:
    """How a machine says that it will be taken away.

    Attributes:
        file: appears then; None: none.
        command: ends with code 0 then; None: none. It may hold a key, so it is never shown.
    """

    file: Path | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        from workbench.settings import SettingsError

        if self.command is None:
            return
        try:
            program = next(iter(shlex.split(self.command)), "")
        except ValueError as error:
            raise SettingsError(f"--notice-command must be a command line ({error})") from None
        if shutil.which(program) is None:
            raise SettingsError(
                f"--notice-command must begin with a program that is there, got {program!r}; give "
                "its full path, or sh -c '...' for a pipe"
            )

    def given(self) -> str:
        """Look once.

        Returns:
            What says so, in words; "" while nothing does.
        """
        if self.file is not None and self.file.exists():
            return f"the file {self.file} appeared"
        if self.command is None:
            return ""
        words = shlex.split(self.command)
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # asked again in a moment
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=COMMAND_TIMEOUT_S,
            )
            if done.returncode == 0:
                return f"the notice command {words[0]} ended with code 0"
        return ""


@contextlib.contextmanager
def heeding(notice: Notice, run: "Run", said: Callable[[str], None]) -> Iterator[None]:
    """Watch for a machine's notice while a run trains, and end the run on it as SIGTERM does.

    Args:
        notice: what to look at; nothing is watched where it is empty.
        run: told to end.
        said: called once with what happened, in another thread.
    """
    if not FIRST_PROCESS or notice == Notice():
        yield
        return
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            if why := notice.given():
                run.stop("terminated", because=f"the machine gave notice: {why}")
                said(f"notice: {why}; saving and leaving")
                return
            done.wait(POLL_S)

    thread = threading.Thread(target=watch, name="notice", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
