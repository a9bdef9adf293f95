"""Drives that stop answering while a process works on them: seen from threads of their own."""

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.store import systems

__all__ = ["DriveWatch", "Silence"]

_ASK_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Silence:
    """A place whose drive does not answer.

    Attributes:
        place: what was asked.
        seconds: since when.
    """

    place: Path
    seconds: float


class DriveWatch:
    """Asks every two seconds whether places answer.

    A call into a drive that hangs holds its thread for ever, and with it the program if that is
    the main one. So each place has a thread that may be held, and whoever calls `silent` is not.

    Args:
        places: what is asked, and how: "touch" writes the time of an existing file, which a system
            cannot answer from its memory as it can "look".
    """

    def __init__(self, places: Mapping[Path, str]):
        self._done = threading.Event()
        self._asked: dict[Path, float] = {}  # while an answer is waited for: when it was asked
        for place, how in places.items():
            ask = threading.Thread(target=self._ask, args=(place, how), daemon=True)
            ask.name = "asking a drive"
            ask.start()

    def silent(self) -> list[Silence]:
        """Look which places have not answered for more than 20 s.

        Returns:
            Those, the one that was asked first in front.
        """
        now = time.monotonic()
        waiting = sorted([*self._asked.items()], key=lambda item: item[1])
        found = [Silence(place, now - at) for place, at in waiting]
        return [one for one in found if one.seconds > systems.ANSWER_S]

    def close(self) -> None:
        """Ask no more; a thread that is held ends when its drive answers."""
        self._done.set()

    def _ask(self, place: Path, how: str) -> None:
        while not self._done.wait(_ASK_EVERY_S):
            self._asked[place] = time.monotonic()
            with contextlib.suppress(OSError):  # an answer too: whoever needs the file will see
                (os.utime if how == "touch" else os.stat)(place)
            del self._asked[place]
