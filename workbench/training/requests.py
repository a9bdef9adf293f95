"""What is asked of a run: by a signal, by files in its folder, by its budget of time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from workbench.records.sampling import interruptible
from workbench.training.state import RunState

__all__ = ["agreed", "any_process", "ending", "giving_way", "in_a_hurry", "must_leave", "pending"]

_REQUESTS = ("stop", "pause", "save-now", "sample-now", "terminate", "time-up")
_ENDING = {"stop": 1, "terminate": 2}  # requests that end a run, and how urgent they are


def pending(run: RunState) -> frozenset[str]:
    """What is asked of this process now.

    Args:
        run: under way.
    Returns:
        Names of requests.
    """
    asked = {"stopped": "stop", "terminated": "terminate"}.get(run.asked or "")
    lying = run.control.pending() if run.trainer.rank == 0 else frozenset()
    minutes = run.recipe.length.minutes
    late = minutes is not None and run.seconds >= 60 * minutes
    return frozenset(lying) | ({asked} if asked else set()) | ({"time-up"} if late else set())


def agreed(run: RunState, requests: frozenset[str]) -> frozenset[str]:
    """What any process was asked is asked of all; every process must ask.

    Args:
        run: under way.
        requests: of this process.
    Returns:
        The same in all processes.
    """
    accelerator = run.trainer.accelerator
    if accelerator.num_processes == 1:
        return requests
    names = _REQUESTS
    flags = torch.tensor([float(name in requests) for name in names], device=accelerator.device)
    found = accelerator.reduce(flags, reduction="sum")
    assert isinstance(found, torch.Tensor)
    return frozenset(name for name, flag in zip(names, found.tolist(), strict=True) if flag > 0)


def any_process(run: RunState, holds: bool) -> bool:
    """Whether something holds in any process; every process must ask.

    Args:
        run: under way.
        holds: whether it does here.
    Returns:
        The same in all processes.
    """
    accelerator = run.trainer.accelerator
    if accelerator.num_processes == 1:
        return holds
    found = accelerator.reduce(torch.tensor(float(holds), device=accelerator.device))
    assert isinstance(found, torch.Tensor)
    return bool(found > 0)


def in_a_hurry(run: RunState) -> bool:
    """Whether any process was told to end in a hurry; every process must ask.

    Args:
        run: under way.
    Returns:
        The same in all processes.
    """
    return "terminate" in agreed(run, pending(run))


def must_leave(run: RunState) -> bool:
    """Whether any process was told to end; every process must ask.

    Args:
        run: under way.
    Returns:
        The same in all processes.
    """
    return bool(agreed(run, ending(run)))


def ending(run: RunState) -> frozenset[str]:
    """The requests of this process that end the run.

    Args:
        run: under way.
    Returns:
        "stop", "terminate", both or none.
    """
    return pending(run) & _ENDING.keys()


@contextmanager
def giving_way(run: RunState) -> Iterator[None]:
    """Let a stretch of model calls end when the run is told to end, or to end faster.

    Args:
        run: under way.
    Raises:
        Interrupted: in the place of the model's next call.
    """

    def urgency() -> int:
        return max((_ENDING[name] for name in ending(run)), default=0)

    before = urgency()
    with interruptible(run.trainer.family, lambda: urgency() > before):
        yield
