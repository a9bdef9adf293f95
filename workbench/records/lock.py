"""One trainer a run folder: a lock that a kill, a reboot or a recycled process id cannot jam."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

FILE_NAME = "lock.json"
BEAT_S = 2.0
SILENT_S = 10.0  # how long a trainer may give no sign of life before a face says so


class RunLocked(ValueError):
    """Another trainer works in this run folder."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that a lock names.

    Attributes:
        pid: its process id; 0 while the lock is being written.
        started: when it started, in the system's own count: a recycled id differs in it.
        boot: id of the system's boot; empty where `started` is absolute.
        host: name of its machine.
        namespace: in which its process id counts; containers have their own.
        taken: Unix seconds at which it took the lock.
        beat: Unix seconds of its last sign of life.
    """

    pid: int
    started: str
    boot: str
    host: str
    namespace: str
    taken: float
    beat: float

    @property
    def silent_s(self) -> float:
        """Seconds without a sign of life, >= 0 also when the clock jumped back."""
        return max(0.0, time.time() - self.beat)

    @property
    def is_here(self) -> bool:
        """Whether its process id means something to this process."""
        return self.host == socket.gethostname() and self.namespace in ("", _namespace())

    @property
    def alive(self) -> bool:
        """Whether the process still lives, hung or not; elsewhere, whether it was just heard of."""
        if self.pid and self.host == socket.gethostname() and self.boot != _boot():
            return False
        if self.pid and self.is_here:
            return _started(self.pid) == self.started
        return self.silent_s < SILENT_S


def holder(folder: str | Path) -> Holder | None:
    """Read a run's lock.

    Args:
        folder: the run folder.
    Returns:
        Who holds it, dead or alive; None where there is no lock.
    """
    path = Path(folder) / FILE_NAME
    try:
        beat, text = path.stat().st_mtime, path.read_text("utf-8")
    except FileNotFoundError:
        return None
    try:
        return Holder(**json.loads(text), beat=beat)
    except (ValueError, TypeError):  # being written this moment, or by a process that died at it
        return Holder(pid=0, started="", boot="", host="", namespace="", taken=beat, beat=beat)


class RunLock:
    """Keeps a second trainer out of a run folder while this one works.

    A daemon thread touches the lock every two seconds, so that a face sees a stopped process, or
    one on another machine that shares the folder.

    Args:
        folder: the run folder, made if missing.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder) / FILE_NAME
        self._done = threading.Event()
        self._mine: dict[str, Any] | None = None

    def acquire(self) -> None:
        """Take the lock; one whose process is dead is taken over.

        Raises:
            RunLocked: another trainer holds it; its process id and the folder are named.
        """
        assert self._mine is None, "this lock is already taken"
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder):
            if (other := holder(folder)) is not None:
                if other.alive:
                    raise RunLocked(_refusal(folder, other))
                self.path.unlink()
            self._mine = _myself()
            self._create()
        self._done.clear()
        threading.Thread(target=self._beat, name="run lock", daemon=True).start()

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        self._done.set()
        if self._mine is None:
            return
        mine, self._mine = self._mine, None
        current = holder(self.path.parent)
        if current is not None and _identity(current) == mine:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> "RunLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _create(self) -> None:
        """Make the file, or fail if it exists: also where folders cannot be locked."""
        try:
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            self._mine = None
            raise RunLocked(
                f"{self.path.parent} was taken by another trainer this moment; wait until it ends"
            ) from None
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(self._mine))

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a share that is away for a moment
                os.utime(self.path)


def _refusal(folder: Path, other: Holder) -> str:
    if other.pid == 0:
        return f"{folder} was taken by another trainer this moment; wait until it ends"
    if not other.is_here:
        return (
            f"{folder} is being trained by process {other.pid} on {other.host}; stop it there "
            f"(if it is dead, try again in {SILENT_S:.0f} s)"
        )
    if other.pid == os.getpid():
        return (
            f"{folder} is already being trained by this process ({other.pid}); finish or close "
            "the earlier run first"
        )
    return (
        f"{folder} is already being trained by process {other.pid}; wait until it ends, or stop it"
    )


def process(pid: int) -> Holder:
    """Name a process of this machine so that it is known again, also by whoever comes later.

    Args:
        pid: its id, this moment.
    Returns:
        The process, as a lock would name it.
    """
    return Holder(
        pid=pid,
        started=_started(pid) or "",
        boot=_boot(),
        host=socket.gethostname(),
        namespace=_namespace(),
        taken=time.time(),
        beat=time.time(),
    )


def _myself() -> dict[str, Any]:
    return _identity(process(os.getpid()))


def _identity(holder: Holder) -> dict[str, Any]:
    return {key: value for key, value in asdict(holder).items() if key != "beat"}


def _started(pid: int) -> str | None:
    """When a process started, in a count that no change of the clock moves; None if it is gone."""
    if sys.platform == "linux":
        # psutil adds the boot time to this, which moves when the clock is set.
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, ticks = fields[0], fields[19]
        return None if state in "ZX" else ticks  # a zombie waits for its parent, and is dead
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    if sys.platform == "linux":
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid") if sys.platform == "linux" else ""


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time look and take: two that find one dead lock must not both remove it.

    Windows cannot lock folders; there the exclusive creation of the file decides alone.

    Args:
        folder: an existing folder; not to be entered twice by one thread.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network drives know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
