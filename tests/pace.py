"""How fast this machine is at this moment, for tests that hold limits of time."""

import time

REFERENCE_S = 0.065  # a million additions on the two cores that the limits are meant for


def slower() -> float:
    """Compare with the machine that limits are meant for; a rented core may run at half its speed.

    Returns:
        How many times slower this one is on average, its pauses counted; 1 where it is as fast or
        faster.
    """
    began, total = time.perf_counter(), 0
    for k in range(10_000_000):
        total += k
    return max(1.0, (time.perf_counter() - began) / (10 * REFERENCE_S))
