"""The end of Windows' console: its window closed, the user logged off, the machine shut down.

Python hears of CTRL_BREAK as SIGBREAK. The other ends reach C's runtime as the same signal, but
Windows ends the process as soon as the runtime's own handler returns, long before Python's. So a
handler of ours stands in front of it, asks the run to end, and does not return until it has.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Windows' numbers of the ends, and the seconds that it waits for the handler, less half of one.
_ENDS_S = {2: 4.5, 5: 4.5, 6: 19.5}  # closed, logged off, shut down


@contextmanager
def heeding_console(stop: Callable[[], None]) -> Iterator[None]:
    """Hold a console's end back while the block ends in order; nothing on other systems.

    Args:
        stop: asks the block to end; called in a thread of the system's.
    Yields:
        Nothing.
    """
    windows: Any = getattr(ctypes, "windll", None)
    if windows is None:
        yield
        return
    done = threading.Event()

    def handle(end: int) -> bool:
        if end not in _ENDS_S:
            return False  # Ctrl-C and CTRL_BREAK are signals
        stop()
        done.wait(_ENDS_S[end])
        return True

    kind = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
    routine = kind(ctypes.c_int, ctypes.c_uint)(handle)  # kept alive by this frame
    windows.kernel32.SetConsoleCtrlHandler(routine, 1)
    try:
        yield
    finally:
        done.set()
        windows.kernel32.SetConsoleCtrlHandler(routine, 0)
