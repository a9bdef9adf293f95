"""What became of a run, told honestly from what it recorded and from who holds its lock."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.records import events, judgement, log
from workbench.records.events import Event
from workbench.records.lock import SILENT_S, Holder, holder

State = Literal["running", "paused", "finished", "stopped", "failed", "crashed"]
# Events that say whether the trainer works; warnings and reports do not.
_DECISIVE = (
    events.Started,
    events.Preparing,
    events.Progress,
    events.Paused,
    events.Continued,
    events.Resumed,
    events.Finished,
    events.Failed,
)


@dataclass(frozen=True, slots=True)
class Summary:
    """One line about a run.

    Attributes:
        name: of the run, its folder's name.
        folder: where it lies.
        state: running, paused, finished, stopped, failed or crashed.
        step: optimizer steps done, those that still count.
        total_steps: optimizer steps planned; None before the start and where the length is a time.
        started: Unix seconds of its first event; None without any.
        elapsed_s: seconds that its processes have lived.
        loss: of the last step; None before the first since the start or resume.
        gap: change of the stable loss on training images against the base, below 0 is better;
            None where it was not measured.
        verdict: the report's sentence; None without a report.
        cause: why it failed, crashed, waits, or gives no sign of life; "" when all is well.
    """

    name: str
    folder: Path
    state: State
    step: int = 0
    total_steps: int | None = None
    started: float | None = None
    elapsed_s: float = 0.0
    loss: float | None = None
    gap: float | None = None
    verdict: str | None = None
    cause: str = ""


def runs(folder: str | Path) -> list[Summary]:
    """List the runs in a folder, the latest started first.

    Args:
        folder: the folder of run folders.
    Returns:
        A summary of each; none where the folder is missing.
    """
    folder = Path(folder)
    homes = [path.parent for path in folder.glob(f"*/{log.FILE_NAME}")]
    return sorted(map(summary, homes), key=lambda run: (-(run.started or 0.0), run.name))


def state(folder: str | Path) -> State:
    """Say whether a run works, waits, or how it ended.

    Args:
        folder: the run folder.
    Returns:
        The state; a killed trainer is "crashed" as soon as its process is gone.
    """
    return summary(folder).state


def summary(folder: str | Path) -> Summary:
    """Sum a run up, without parsing every step of it.

    Args:
        folder: the run folder.
    Returns:
        Its summary.
    """
    folder = Path(folder)
    # The lock first: a run that ends in between is then seen to have ended in order.
    owner = holder(folder)
    seen = log.read_milestones(folder)
    steps = [event for event in seen if isinstance(event, events.Progress)]
    totals = [e.total_steps for e in seen if isinstance(e, events.Started | events.Resumed)]
    now, cause = _judge(seen, owner)
    return Summary(
        name=folder.resolve().name,
        folder=folder,
        state=now,
        step=_last_step(seen),
        total_steps=(totals[-1] or None) if totals else None,
        started=seen[0].time if seen else None,
        elapsed_s=seen[-1].elapsed_s if seen else 0.0,
        loss=steps[-1].loss if steps else None,
        gap=_gap(seen),
        verdict=_verdict(folder, seen),
        cause=cause,
    )


def _verdict(folder: Path, seen: Sequence[Event]) -> str | None:
    """The newest verdict: a comparison made after the run's own report replaces it."""
    steps = [event.step for event in seen if isinstance(event, events.Validated)]
    judged = judgement.load(folder, step=max(steps, default=0))
    reported = [event.verdict for event in seen if isinstance(event, events.Reported)]
    return judged.verdict if judged is not None else reported[-1] if reported else None


def _judge(seen: Sequence[Event], owner: Holder | None) -> tuple[State, str]:
    """Derive the state and its cause."""
    last = next((event for event in reversed(seen) if isinstance(event, _DECISIVE)), None)
    if last is not None and owner is not None and owner.alive and owner.taken > last.time:
        last = None  # a new trainer loads its model and has said nothing yet
    if isinstance(last, events.Finished):
        return ("finished", "") if last.reason == "complete" else ("stopped", last.reason)
    if isinstance(last, events.Failed):
        return "failed", last.error
    if owner is None or not owner.alive:
        process = f"process {owner.pid}" if owner is not None and owner.pid else "its process"
        return "crashed", (
            f"{process} ended without a word after step {_last_step(seen)}: it was killed, ran out "
            "of memory, or the machine went down"
        )
    if owner.silent_s > SILENT_S:
        cause = f"process {owner.pid} gives no sign of life for {owner.silent_s:.0f} s"
    else:
        cause = last.reason if isinstance(last, events.Paused) else ""
    return ("paused" if isinstance(last, events.Paused) else "running"), cause


def _gap(seen: Sequence[Event]) -> float | None:
    measured = [e for e in seen if isinstance(e, events.Validated) and e.split == "train"]
    found = [e.loss / e.base_loss - 1 for e in measured if e.base_loss]
    return found[-1] if found else None


def _last_step(seen: Sequence[Event]) -> int:
    """Steps done: of the last event that is about the trainer's work."""
    steps = [
        e.step for e in seen if isinstance(e, events.Progress | events.Resumed | events.Finished)
    ]
    return steps[-1] if steps else 0
