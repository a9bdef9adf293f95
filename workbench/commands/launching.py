"""`launch`: one training in several processes of this machine, with their own exit code.

torchrun does the same and ends with code 1 whatever became of the run; on SIGTERM it also kills its
processes after 30 s, whether or not a checkpoint is being written.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Annotated

import typer

from workbench.commands.progress import ending_signals
from workbench.commands.terminal import complain

PASSES_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
# Once one process has failed, the others wait for it in vain and are ended.
ALONE_S = 15.0
_POLL_S = 0.1

Child = subprocess.Popen[bytes]


def launch(
    processes: Annotated[int, typer.Option("--processes", min=1, help="usually one a GPU.")],
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="train or resume, with its options.")
    ],
) -> None:
    """Train in several processes of this machine: launch --processes 2 train RECIPE."""
    from workbench.settings import SettingsError

    if command[0] not in ("train", "resume"):
        raise SettingsError(f"COMMAND must begin with train or resume, got {command[0]!r}")
    with _passing_signals([_start(command, rank, processes) for rank in _ranks(processes)]) as all_:
        code = wait(all_)
    raise typer.Exit(code)


def wait(children: list[Child], *, alone_s: float = ALONE_S) -> int:
    """Wait for all processes of a run; end the others where one failed.

    Args:
        children: by rank.
        alone_s: how long the others get once one has failed.
    Returns:
        The exit code of the process that failed first; otherwise that of the first process, which
        alone knows how the run ended. A process killed by signal N counts as 128 + N.
    """
    failed: Child | None = None
    ends_at = 0.0
    while any(child.poll() is None for child in children):
        if failed is None:
            failed = next((child for child in children if _has_failed(child)), None)
            ends_at = time.monotonic() + alone_s
            if failed is not None:
                rank = children.index(failed)
                complain(f"process {rank} ended with code {_code(failed)}; ending the others")
        elif time.monotonic() > ends_at:
            for child in children:
                child.kill()
        time.sleep(_POLL_S)
    failed = failed or next((child for child in children if _has_failed(child)), None)
    return _code(failed or children[0])


def _has_failed(child: Child) -> bool:
    """Whether a process ended otherwise than all do together: done, stopped or terminated."""
    return child.poll() is not None and child.returncode not in (0, 130, 143)


def _code(child: Child) -> int:
    code = child.returncode
    return 128 - code if code < 0 else code


def _ranks(processes: int) -> range:
    """The ranks, and where their processes find one another."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    return range(processes)


def _start(command: list[str], rank: int, processes: int) -> Child:
    """Start one process, in a session of its own: a terminal's Ctrl-C must not reach it twice."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes}
    place["LOCAL_WORLD_SIZE"] = processes
    return subprocess.Popen(
        [sys.executable, "-m", "workbench", *command],
        env=os.environ | {name: str(value) for name, value in place.items()},
        start_new_session=True,
    )


@contextlib.contextmanager
def _passing_signals(children: list[Child]) -> Iterator[list[Child]]:
    """Hand on what this process is told; every process of a run must hear it."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in ending_signals()}
    try:
        yield children
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
