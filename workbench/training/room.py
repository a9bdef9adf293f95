"""A disk without room: a run waits at a save, loses no step, and still obeys its signals."""

import time
from collections.abc import Callable, Generator
from pathlib import Path

from workbench import store
from workbench.records.checkpoint import DiskFull
from workbench.records.events import Continued, Event, Paused, Warned
from workbench.training.state import RunState

__all__ = ["with_room"]

_SOONEST_S, _LATEST_S = 2.0, 30.0  # how long a run that waits for room goes without looking


def with_room(
    run: RunState, write: Callable[[], Path], *, ending: Callable[[], bool]
) -> Generator[Event, None, Path | None]:
    """Write a file that must not be lost; where the disk has no room, wait until it has.

    Args:
        run: under way.
        write: writes the file, whole or not at all, and may be called again.
        ending: whether the run was told to end.
    Yields:
        That it waits, and for what; that it goes on.
    Returns:
        The file; None where the run was told to end while it waited.
    """
    waited_s, said = _SOONEST_S, ""
    while True:
        try:
            path = write()
            break
        except OSError as error:
            full = _full(error, run.folder)
            if full is None:
                raise
            if not said:
                said = full.strerror or ""
                yield Warned(
                    id="disk-full",
                    message=said,
                    fix="free the space, or bring the disk back; the run then goes on",
                    step=run.step,
                )
                yield Paused(step=run.step, reason="disk full")
        if _told_to_end(ending, run.folder, full.needed_bytes, waited_s):
            yield Warned(
                id="not-saved",
                message=f"the run was told to end while the disk had no room: step {run.step} is "
                "not saved",
                fix=f"`workbench resume {run.folder}` goes on from what was saved before",
                step=run.step,
            )
            return None
        waited_s = min(2 * waited_s, _LATEST_S)
    if said:
        yield Continued(step=run.step)
    return path


def _full(error: OSError, folder: Path) -> DiskFull | None:
    """The error in words; None where it has nothing to do with room."""
    if isinstance(error, DiskFull):
        return error
    path = Path(error.filename or folder)
    why = store.no_room(error, path)
    if why is None:
        return None
    return DiskFull(path, needed_bytes=0, free_bytes=store.free_bytes(folder), why=why)


def _told_to_end(
    ending: Callable[[], bool], folder: Path, needed_bytes: int, wait_s: float
) -> bool:
    """Wait until another try makes sense, or the run is told to end."""
    waited_s = 0.0
    while True:
        if ending():
            return True
        time.sleep(_SOONEST_S)  # first of all: a used-up quota leaves free bytes in sight
        waited_s += _SOONEST_S
        if waited_s >= wait_s and store.free_bytes(folder) >= needed_bytes:
            return False
