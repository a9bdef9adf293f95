"""Processes that outlive whoever starts them: no shell, no terminal, a session of their own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import workbench
from workbench.records.lock import holder, one_at_a_time
from workbench.workspace import jobs
from workbench.workspace.folders import Workspace
from workbench.workspace.hooks import Hooks

LOG = "worker.log"  # in the queue's folder
_MAX_LOG_BYTES = 1 << 20
_AGAIN_S = 30.0  # until a worker that fell over at once is tried again

_workers: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}


def ensure_worker(workspace: Workspace, hooks: Hooks | None = None) -> bool:
    """Start the workspace's worker if something is to do and none lives; cheap enough for a poll.

    Args:
        workspace: whose queue.
        hooks: who is told when jobs end.
    Returns:
        Whether one was started.
    """
    arguments = ["work", str(workspace.root), *(hooks or Hooks()).arguments()]
    with one_at_a_time(workspace.queue):
        if not jobs.active(workspace.queue):
            return False
        owner = holder(workspace.queue)
        if (owner is not None and owner.alive) or _is_starting(workspace.root):
            return False
        path = workspace.queue / LOG
        is_long = path.exists() and path.stat().st_size > _MAX_LOG_BYTES
        with open(path, "wb" if is_long else "ab") as output:
            worker = spawn(arguments, output, folder=workspace.root)
        _workers[workspace.root] = (worker, time.monotonic())
    # Until its parent has waited for it, a dead process stays a zombie.
    threading.Thread(target=worker.wait, name="worker", daemon=True).start()
    return True


def spawn(arguments: Sequence[str], output: IO[bytes], *, folder: Path) -> subprocess.Popen[bytes]:
    """Start a command of the workbench that outlives this process and its terminal.

    Args:
        arguments: after `workbench`.
        output: takes all that it prints.
        folder: to work in: the workspace.
    Returns:
        The process.
    """
    # Unbuffered: what a process printed last is what tells why it was killed.
    environment = {"WORKBENCH_HOME": str(folder), **os.environ, "PYTHONUNBUFFERED": "1"}
    # -P: what lies in the workspace must not be imported. The package itself is found from where
    # it is now, also in a checkout that is not installed.
    package = Path(workbench.__file__).parents[1]
    if package.name not in ("site-packages", "dist-packages"):
        found = [str(package), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, found))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "workbench", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def _is_starting(root: Path) -> bool:
    """Whether the worker started here has yet to take its lock, or fell over a moment ago."""
    worker, since = _workers.get(root, (None, 0.0))
    if worker is None:
        return False
    code = worker.poll()
    return code is None or (code != 0 and time.monotonic() - since < _AGAIN_S)
