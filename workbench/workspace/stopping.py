"""How a trainer is made to end: asked, with everything saved; by force only for a budget."""

import os
import signal
import time

from workbench.records import events, log
from workbench.records.control import Control
from workbench.workspace.jobs import Job

GRACE_S = 300.0  # to save, before a trainer whose budget is used up is told more firmly


class Stopping:
    """The end of one job, pressed for again and again until it comes."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._terminated = False

    def press(self, job: Job, *, forced: bool) -> None:
        """Ask once more.

        A trainer that steps reads its control folder, and clears it when it starts: hence again
        and again. One that still prepares would read it after hours of caching, and has nothing to
        save, so it gets a signal.

        Args:
            job: running.
            forced: it must end, also by force: time costs money.
        """
        if job.child is None or not job.alive:
            return
        waited_s = time.monotonic() - self._since
        steps = _steps(job)
        if forced and waited_s > 2 * GRACE_S:
            os.kill(job.child.pid, signal.SIGKILL)
        elif steps and not (forced and waited_s > GRACE_S):
            Control(job.folder).request("stop")
        elif not self._terminated:  # a second one would not wait for the save
            self._terminated = True
            os.kill(job.child.pid, signal.SIGTERM)


def _steps(job: Job) -> bool:
    """Whether this job's trainer has come to its steps, or beyond."""
    beyond = (events.Progress, events.Finished, events.Failed)
    seen = log.read_milestones(job.folder)
    return any(isinstance(e, beyond) and e.seq > job.seq for e in seen)
