"""A drive that hangs while a run trains on it: said, waited for, and left when asked to."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.commands.terminal import FIRST_PROCESS, complain, duration

if TYPE_CHECKING:
    from workbench.records.events import Event
    from workbench.store import Silence
    from workbench.training.run import Run

GIVEN_UP_S = 60.0  # a drive under load may take half a minute, and a save on it is worth the wait
_LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def heeding_drives(run: "Run", numbers: Sequence[int]) -> Iterator[None]:
    """Say when the drive of a run or of its pictures hangs, and that it is waited for.

    The call that hangs holds the main thread, so that no handler of Python runs. Once the run is
    told to end, and its drive has not answered for a minute, the process ends without it: what the
    newest checkpoint holds is whole.

    Args:
        run: trains in this block.
        numbers: signals that end it.
    """
    if not FIRST_PROCESS:
        yield
        return
    from workbench.records.lock import FILE_NAME as lock_name
    from workbench.store import DriveWatch

    lock = run.folder / lock_name
    looked_at = {Path(subset.path): "look" for subset in run.recipe.data.subsets}
    watch, done = DriveWatch(looked_at | {lock: "touch"}), threading.Event()
    with _heard(numbers) as heard, contextlib.closing(watch):
        hanging = _Hanging(run, heard)
        run.observers.append(hanging.observe)

        def look() -> None:
            while not done.wait(_LOOK_EVERY_S):
                hanging.look(watch.silent())

        threading.Thread(target=look, name="drives", daemon=True).start()
        try:
            yield
        finally:
            done.set()


class _Hanging:
    """What is said and done about drives that hang.

    Args:
        run: that works on them.
        heard: the signals that came so far, also where no handler could run.
    """

    def __init__(self, run: "Run", heard: Callable[[], Sequence[int]]):
        self.run, self.heard = run, heard
        self.now: dict[Path, Silence] = {}
        self.over: list[Silence] = []

    def look(self, silent: "Sequence[Silence]") -> None:
        """Say what is new, and leave where that was asked for.

        Args:
            silent: places that do not answer now.
        """
        before, self.now = self.now, {one.place: one for one in silent}
        for place in self.now.keys() - before.keys():
            complain(
                f"{self._named(place)} has not answered for {self.now[place].seconds:.0f} s: its "
                "drive hangs, and the run waits for it. Mount it again. After Ctrl-C or SIGTERM "
                f"the process ends once it has waited for {GIVEN_UP_S:g} s, and `workbench resume "
                f"{self.run.folder}` goes on from the newest checkpoint"
            )
        for place in before.keys() - self.now.keys():
            self.over.append(before[place])
            complain(f"{self._named(place)} answers again; the run goes on")
        for one in silent:
            if one.seconds >= GIVEN_UP_S and (code := self._code(one.place)):
                complain(
                    f"leaving: {self._named(one.place)} has not answered for "
                    f"{duration(one.seconds)}; what came after the newest checkpoint is not saved"
                )
                os._exit(code)  # the main thread is held, and nothing else can end the process

    def observe(self, run: "Run", event: "Event") -> "Iterator[Event]":
        """Record what is over.

        Args:
            run: that waited.
            event: of it.
        Yields:
            A note for each place that answers again.
        """
        from workbench.records.events import Warned

        while self.over:
            gone = self.over.pop()
            yield Warned(
                id="drive-hung",
                message=f"{self._named(gone.place)} did not answer for {duration(gone.seconds)}: "
                "its drive hung, and the run waited for it",
                step=run.step,
                severity="note",
            )

    def _named(self, place: Path) -> Path:
        return self.run.folder if place.parent == self.run.folder else place

    def _code(self, place: Path) -> int:
        """Exit code by what ends the run; 0 while nothing does, or while it can still save."""
        signals = self.heard()
        if self.run.asked is not None and place.parent != self.run.folder:
            return 0  # the main thread goes on: its handler has run, and its own drive answers
        if self.run.asked == "terminated" or any(one != signal.SIGINT for one in signals):
            return 128 + signal.SIGTERM
        return 128 + signal.SIGINT if signals or self.run.asked else 0


@contextlib.contextmanager
def _heard(numbers: Sequence[int]) -> Iterator[Callable[[], Sequence[int]]]:
    """Hear signals while the main thread is held: C's handler runs, or the system keeps them."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    came: list[int] = []

    def heard() -> list[int]:
        with contextlib.suppress(BlockingIOError):
            came.extend(number for number in reader.recv(4096) if number in numbers)
        return [*came, *_kept(numbers)]

    try:
        yield heard
    finally:
        signal.set_wakeup_fd(before)
        reader.close()
        writer.close()


def _kept(numbers: Sequence[int]) -> list[int]:
    """Signals for this process that Linux holds back, as its main thread sleeps in the kernel."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("ShdPnd:"):
                held = int(line.split()[1], 16)
                return [number for number in numbers if held >> (number - 1) & 1]
    return []
