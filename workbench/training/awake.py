"""A clock that stands still while the machine sleeps: a closed laptop trains nothing."""

import sys
import time

__all__ = ["awake_s"]


def awake_s() -> float:
    """Seconds that the machine was awake, from any origin; no change of the clock moves it.

    `time.monotonic` is that on Linux and macOS. On Windows it goes on while the machine sleeps.

    Returns:
        Seconds.
    """
    return _unbiased_s() if sys.platform == "win32" else time.monotonic()


def _unbiased_s() -> float:
    """Windows' count of 100 ns, sleep left out; `time.monotonic` where it cannot be had."""
    import ctypes

    ticks = ctypes.c_ulonglong()
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009  # absent elsewhere
    if not kernel.QueryUnbiasedInterruptTime(ctypes.byref(ticks)):
        return time.monotonic()
    return ticks.value / 1e7
