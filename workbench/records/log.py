"""The file of a run's events, `events.jsonl`: one JSON line an event, appended by one process."""

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TypeVar

import pydantic

from workbench import store
from workbench.records.events import Event, Failed, Finished, Recorded, Resumed, Saved

FILE_NAME = "events.jsonl"
AnyEvent = TypeVar("AnyEvent", bound=Recorded)

_parser: pydantic.TypeAdapter[Event] = pydantic.TypeAdapter(Event)
# A power cut may lose the last lines; these must not be among them.
_FLUSHED = (Saved, Finished, Failed)


class EventLog:
    """The one writer of a run's events.

    Each event is one unbuffered write that ends in a newline, so a kill leaves whole lines and at
    most one torn last line, which the next log cuts off before it appends. While the disk has no
    room, events wait in memory and are written before the next one.

    Args:
        folder: the run folder, made if missing.
        rank: only rank 0 writes; on others `append` hands the event back unrecorded.
    """

    def __init__(self, folder: str | Path, *, rank: int = 0):
        self.path = Path(folder) / FILE_NAME
        self.seq = 0
        self._opened = time.monotonic()
        self._lived_s = 0.0
        self._file: BinaryIO | None = None
        self._waiting: list[bytes] = []
        if rank == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            self._repair()

    def append(self, event: AnyEvent) -> AnyEvent:
        """Record an event.

        Args:
            event: any event; its seq, time and elapsed_s are set here.
        Returns:
            The event as recorded.
        Raises:
            OSError: the file cannot be written to, and not for want of room.
        """
        if self._file is None:
            return event
        elapsed_s = self._lived_s + time.monotonic() - self._opened
        stamp = {"seq": self.seq + 1, "time": time.time(), "elapsed_s": round(elapsed_s, 4)}
        event = event.model_copy(update=stamp)
        line = event.model_dump_json().encode() + b"\n"
        self._waiting.append(line)
        self._write(self._file, flush=isinstance(event, _FLUSHED))
        self.seq += 1
        return event

    @property
    def num_waiting(self) -> int:
        """Events that the disk had no room for so far."""
        return len(self._waiting)

    def close(self) -> None:
        """Let go of the file; a closed log records nothing."""
        if self._file is not None:
            if self._waiting:
                self._write(self._file, flush=True)
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _write(self, file: BinaryIO, *, flush: bool) -> None:
        """Write what waits, all of it or nothing."""
        data = b"".join(self._waiting)
        try:
            start = file.seek(0, os.SEEK_END)
            try:
                if file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, "no space left to record events", str(self.path))
                if flush:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(start)
                raise
        except OSError as error:
            if store.no_room(error, self.path) is None:
                raise
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                self._reopen()
            return
        self._waiting.clear()

    def _reopen(self) -> None:
        """Take the file anew: a disk that was away for a while leaves dead handles behind."""
        with contextlib.suppress(OSError):
            renewed = open(self.path, "ab", buffering=0)  # noqa: SIM115
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
            self._file = renewed

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repair(self) -> None:
        """Cut a torn last line off and go on from the last event's seq and elapsed time."""
        assert self._file is not None
        lines, end = _lines_after(self.path, None)
        self._file.truncate(end)
        self._file.seek(end)
        stamps = (stamp for line in reversed(lines) if (stamp := _stamp(line)) is not None)
        self.seq, self._lived_s = next(stamps, (0, 0.0))


def read(folder: str | Path, *, after: int = 0) -> list[Event]:
    """Read a run's events, or only those that are new to the caller.

    A torn last line is left for the next call. With `after`, the file is read from its end back to
    that event, so that tailing a long run costs no more than what is new.

    Args:
        folder: the run folder; no file yet means no events.
        after: the last seq that the caller knows; 0 reads all.
    Returns:
        Events in order of seq, without those that a later `Resumed` among them took back. A caller
        who adds them to earlier ones passes the sum through `current`.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return []
    lines, _ = _lines_after(path, after)
    events = (event for line in lines if (event := _parse(line)) is not None)
    return current(event for event in events if event.seq > after)


def read_milestones(folder: str | Path) -> list[Event]:
    """Read a run's events without the bulk of its steps, to list many long runs quickly.

    Args:
        folder: the run folder; no file yet means no events.
    Returns:
        Events in order of seq; of `Progress` only the last.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return []
    lines, _ = _lines_after(path, 0)
    # Inside a JSON string the quotes would be escaped, so this matches the field alone.
    bulk = {number for number, line in enumerate(lines) if b'"event":"progress"' in line}
    bulk -= {max(bulk, default=0)}
    kept = [line for number, line in enumerate(lines) if number not in bulk]
    return current(event for line in kept if (event := _parse(line)) is not None)


def current(events: Iterable[Event]) -> list[Event]:
    """Drop the steps that a later `Resumed` took back.

    Args:
        events: events in order of seq.
    Returns:
        The events without those of a step later than that of a `Resumed` that follows them.
    """
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Resumed):
            kept = [earlier for earlier in kept if _step(earlier) <= event.step]
        kept.append(event)
    return kept


def _step(event: Event) -> int:
    """Step an event belongs to; -1 for one that belongs to none."""
    step = getattr(event, "step", None)
    return -1 if step is None else step


def _parse(line: bytes) -> Event | None:
    """Read one line; None for what a power cut garbled or a later version wrote."""
    try:
        return _parser.validate_json(line)
    except ValueError:
        return None


def _lines_after(path: Path, after: int | None) -> tuple[list[bytes], int]:
    """Read whole lines from the end back to event `after`; None is satisfied by any event.

    Returns:
        The lines (perhaps some before `after` too) and the byte offset where the last one ends.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        span = size if after == 0 else 1 << 14
        while True:
            start = max(0, size - span)
            file.seek(start)
            data = file.read(size - start)
            end = data.rfind(b"\n") + 1
            # In the middle of the file the first piece is the tail of a line.
            begin = 0 if start == 0 else data.find(b"\n") + 1
            lines = data[begin:end].splitlines()
            first = next((stamp for line in lines if (stamp := _stamp(line)) is not None), None)
            if start == 0 or (first is not None and (after is None or first[0] <= after)):
                return lines, start + end
            span *= 4


def _stamp(line: bytes) -> tuple[int, float] | None:
    """Read seq and elapsed_s of a line of any version; None for a garbled one."""
    try:
        record = json.loads(line)
        return int(record["seq"]), float(record["elapsed_s"])
    except (ValueError, KeyError, TypeError):
        return None
