"""One owner a device: a page that samples borrows it, and trainings wait until it is given back."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from workbench.records.lock import RunLock, RunLocked, holder, one_at_a_time
from workbench.settings import SettingsError
from workbench.workspace import jobs
from workbench.workspace.folders import Workspace


class DeviceBusy(SettingsError):
    """Another has the device; it can be waited for."""


@contextlib.contextmanager
def borrowed(workspace: Workspace) -> Iterator[None]:
    """Have the device for this process while no training works; queued ones wait.

    Args:
        workspace: whose device.
    Raises:
        DeviceBusy: it is at work, or lent already; wait, or ask the trainer for samples.
    """
    lock = RunLock(_folder(workspace))
    with one_at_a_time(workspace.queue):
        for job in jobs.active(workspace.queue):
            if job.state == "running":
                raise DeviceBusy(
                    f"the device is training {job.run}; wait until it ends, or ask that training "
                    "for samples (paused, it keeps the device's memory)"
                )
        try:
            lock.acquire()
        except RunLocked:
            raise DeviceBusy(
                "the device is drawing for another page; wait until that is done"
            ) from None
    try:
        yield
    finally:
        lock.release()


def lent(workspace: Workspace) -> bool:
    """Whether a page has the device.

    Args:
        workspace: whose device.
    Returns:
        True while its process lives and has not given it back.
    """
    owner = holder(_folder(workspace))
    return owner is not None and owner.alive


def _folder(workspace: Workspace) -> Path:
    return workspace.queue / "device"
