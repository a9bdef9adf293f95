"""What a run says while it works: one JSON line an event, appended to `events.jsonl`.

Every face (command line, app, notebook) only reads these events and draws them. Numbers that are
not finite are written as the strings "NaN", "Infinity" and "-Infinity": the file stays JSON for any
reader, and the number comes back as it was.
"""

import errno
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, TypeVar

import pydantic
from pydantic import Field

FILE_NAME = "events.jsonl"


class Recorded(pydantic.BaseModel):
    """What every event carries; `EventLog.append` fills it in.

    Attributes:
        seq: position in the run's file, 1 for the first; 0 while not recorded.
        time: wall clock, Unix seconds; may jump, so order by `seq`.
        elapsed_s: seconds that the run's processes have lived; never falls, also over a resume.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    seq: int = 0
    time: float = 0.0
    elapsed_s: float = 0.0


class Started(Recorded):
    """A run begins at step 0: what it is and how long it will be.

    Attributes:
        run: name of the run.
        recipe_hash: SHA-256 of the resolved recipe.
        total_steps: optimizer steps planned.
        steps_per_epoch: optimizer steps in which each training image is seen `repeats` times.
        num_images: images trained on.
        num_held_out: images kept for validation.
        device: torch device of rank 0.
        precision: dtype of the forward pass.
        num_processes: trainers that share the run.
        versions: library name to version.
    """

    event: Literal["started"] = "started"
    run: str
    recipe_hash: str
    total_steps: int
    steps_per_epoch: int = 0
    num_images: int = 0
    num_held_out: int = 0
    device: str = "cpu"
    precision: str = "float32"
    num_processes: int = 1
    versions: dict[str, str] = {}


class Preparing(Recorded):
    """A stage before the first step has done `done` of `total` units ("caching latents", 3, 40)."""

    event: Literal["preparing"] = "preparing"
    stage: str
    done: int
    total: int


class Progress(Recorded):
    """One optimizer step is done.

    Attributes:
        step: optimizer steps done since the run began, from 1.
        epoch: epoch of this step, from 0.
        loss: mean loss of the step's samples.
        learning_rates: group name to rate.
        gradient_norm: 2-norm over all trainables before clipping; None where it was not read.
        steps_per_s: optimizer steps a second, recent.
        images_per_s: images a second, recent, all processes together.
        eta_s: seconds to the end, >= 0; None while unknown.
        traces: further curves by name, such as "d*lr" or "ema_lag".
    """

    event: Literal["progress"] = "progress"
    step: int
    epoch: int = 0
    loss: float
    learning_rates: dict[str, float] = {}
    gradient_norm: float | None = None
    steps_per_s: float = 0.0
    images_per_s: float = 0.0
    eta_s: float | None = None
    traces: dict[str, float] = {}


class Validated(Recorded):
    """The stable loss: fixed images, noise and timesteps, of the base and of what was trained.

    Attributes:
        step: optimizer steps done.
        split: which images were measured.
        loss: mean loss of what was trained.
        base_loss: mean loss of the base on the same draws.
        timestep_edges: borders of the timestep bins, one more than bins.
        bin_losses: loss in each bin.
        base_bin_losses: the base's loss in each bin.
    """

    event: Literal["validated"] = "validated"
    step: int
    split: Literal["train", "held_out"] = "held_out"
    loss: float
    base_loss: float | None = None
    timestep_edges: tuple[float, ...] = ()
    bin_losses: tuple[float, ...] = ()
    base_bin_losses: tuple[float, ...] = ()


class Saved(Recorded):
    """A checkpoint or a LoRA file is on disk, flushed; `path` is relative to the run folder."""

    event: Literal["saved"] = "saved"
    step: int
    path: str
    what: Literal["checkpoint", "lora"] = "checkpoint"
    final: bool = False
    num_bytes: int = 0
    seconds: float = 0.0


class SampledPicture(pydantic.BaseModel):
    """One sample on disk; `path` is relative to the run folder."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    prompt: str
    seed: int
    path: str


class Sampled(Recorded):
    """Pictures of the fixed prompts and seeds were drawn; `base` marks those without the LoRA."""

    event: Literal["sampled"] = "sampled"
    step: int
    pictures: tuple[SampledPicture, ...]
    base: bool = False
    seconds: float = 0.0


class Warned(Recorded):
    """Something the user should know; `id` is stable, `fix` says what to do about it."""

    event: Literal["warned"] = "warned"
    id: str
    message: str
    fix: str = ""
    step: int | None = None


class Paused(Recorded):
    """The trainer waits after `step`: by request, or because it cannot go on (a full disk)."""

    event: Literal["paused"] = "paused"
    step: int
    reason: str = "asked"


class Continued(Recorded):
    """The trainer goes on after a pause, in the same process."""

    event: Literal["continued"] = "continued"
    step: int


class Resumed(Recorded):
    """A new process goes on after `step`; later steps recorded before this line no longer count.

    Attributes:
        step: optimizer steps that the loaded checkpoint had done.
        total_steps: optimizer steps planned now.
        checkpoint: its folder, relative to the run folder.
        set_aside: checkpoints that were not valid, and where their remains lie.
    """

    event: Literal["resumed"] = "resumed"
    step: int
    total_steps: int
    checkpoint: str = ""
    set_aside: tuple[str, ...] = ()


class Proved(Recorded):
    """The saved file was loaded afresh and compared with what was trained.

    Attributes:
        step: optimizer steps done when the file was saved.
        path: the file, relative to the run folder.
        passed: whether every rung of the ladder holds.
        findings: one sentence a rung.
        numbers: the largest difference of each rung, by name.
    """

    event: Literal["proved"] = "proved"
    step: int
    path: str
    passed: bool
    findings: tuple[str, ...] = ()
    numbers: dict[str, float] = {}


class Reported(Recorded):
    """The report is written; `verdict` is its one sentence on whether the run learned."""

    event: Literal["reported"] = "reported"
    path: str
    verdict: str | None = None


class Finished(Recorded):
    """The run ended in order, with everything saved.

    Attributes:
        step: optimizer steps done.
        reason: "complete" (the planned length), "stopped" (asked by the user), "terminated"
            (SIGTERM) or "left" (the caller broke out of the loop).
    """

    event: Literal["finished"] = "finished"
    step: int
    reason: Literal["complete", "stopped", "terminated", "left"] = "complete"


class Failed(Recorded):
    """The run ended in an error; `fix` says what to change."""

    event: Literal["failed"] = "failed"
    error: str
    fix: str = ""
    step: int | None = None


Event = Annotated[
    Started
    | Preparing
    | Progress
    | Validated
    | Saved
    | Sampled
    | Warned
    | Paused
    | Continued
    | Resumed
    | Proved
    | Reported
    | Finished
    | Failed,
    Field(discriminator="event"),
]
AnyEvent = TypeVar("AnyEvent", bound=Recorded)

_parser: pydantic.TypeAdapter[Event] = pydantic.TypeAdapter(Event)
# A power cut may lose the last lines; these must not be among them.
_FLUSHED = (Saved, Finished, Failed)


class EventLog:
    """The one writer of a run's events.

    Each event is one unbuffered write that ends in a newline, so a kill leaves whole lines and at
    most one torn last line, which the next log cuts off before it appends.

    Args:
        folder: the run folder, made if missing.
        rank: only rank 0 writes; on others `append` hands the event back unrecorded.
    """

    def __init__(self, folder: str | Path, *, rank: int = 0):
        self.path = Path(folder) / FILE_NAME
        self.seq = 0
        self._opened = time.monotonic()
        self._lived_s = 0.0
        self._file: BinaryIO | None = None
        if rank == 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not "r+b": appending must reach the end even if someone else touched the file.
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115
            self._repair()

    def append(self, event: AnyEvent) -> AnyEvent:
        """Record an event.

        Args:
            event: any event; its seq, time and elapsed_s are set here.
        Returns:
            The event as recorded.
        Raises:
            OSError: the disk is full; nothing of the event is left in the file.
        """
        if self._file is None:
            return event
        elapsed_s = self._lived_s + time.monotonic() - self._opened
        stamp = {"seq": self.seq + 1, "time": time.time(), "elapsed_s": round(elapsed_s, 4)}
        event = event.model_copy(update=stamp)
        line = event.model_dump_json().encode() + b"\n"
        start = self._file.tell()
        if self._file.write(line) != len(line):
            self._file.truncate(start)
            raise OSError(errno.ENOSPC, "no space left to record an event", str(self.path))
        if isinstance(event, _FLUSHED):
            os.fsync(self._file.fileno())
        self.seq += 1
        return event

    def close(self) -> None:
        """Let go of the file; a closed log records nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repair(self) -> None:
        """Cut a torn last line off and go on from the last event's seq and elapsed time."""
        assert self._file is not None
        lines, end = _lines_after(self.path, None)
        self._file.truncate(end)
        self._file.seek(end)
        stamps = (stamp for line in reversed(lines) if (stamp := _stamp(line)) is not None)
        self.seq, self._lived_s = next(stamps, (0, 0.0))


def read(folder: str | Path, *, after: int = 0) -> list[Event]:
    """Read a run's events, or only those that are new to the caller.

    A torn last line is left for the next call. With `after`, the file is read from its end back to
    that event, so that tailing a long run costs no more than what is new.

    Args:
        folder: the run folder; no file yet means no events.
        after: the last seq that the caller knows; 0 reads all.
    Returns:
        Events in order of seq, without those that a later `Resumed` among them took back. A caller
        who adds them to earlier ones passes the sum through `current`.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return []
    lines, _ = _lines_after(path, after)
    events = (event for line in lines if (event := _parse(line)) is not None)
    return current(event for event in events if event.seq > after)


def current(events: Iterable[Event]) -> list[Event]:
    """Drop the steps that a later `Resumed` took back.

    Args:
        events: events in order of seq.
    Returns:
        The events without those of a step later than that of a `Resumed` that follows them.
    """
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Resumed):
            kept = [earlier for earlier in kept if _step(earlier) <= event.step]
        kept.append(event)
    return kept


def _step(event: Event) -> int:
    """Step an event belongs to; -1 for one that belongs to none."""
    step = getattr(event, "step", None)
    return -1 if step is None else step


def _parse(line: bytes) -> Event | None:
    """Read one line; None for what a power cut garbled or a later version wrote."""
    try:
        return _parser.validate_json(line)
    except ValueError:
        return None


def _lines_after(path: Path, after: int | None) -> tuple[list[bytes], int]:
    """Read whole lines from the end back to event `after`; None is satisfied by any event.

    Returns:
        The lines (perhaps some before `after` too) and the byte offset where the last one ends.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        span = size if after == 0 else 1 << 14
        while True:
            start = max(0, size - span)
            file.seek(start)
            data = file.read(size - start)
            end = data.rfind(b"\n") + 1
            # In the middle of the file the first piece is the tail of a line.
            begin = 0 if start == 0 else data.find(b"\n") + 1
            lines = data[begin:end].splitlines()
            first = next((stamp for line in lines if (stamp := _stamp(line)) is not None), None)
            if start == 0 or (first is not None and (after is None or first[0] <= after)):
                return lines, start + end
            span *= 4


def _stamp(line: bytes) -> tuple[int, float] | None:
    """Read seq and elapsed_s of a line of any version; None for a garbled one."""
    try:
        record = json.loads(line)
        return int(record["seq"]), float(record["elapsed_s"])
    except (ValueError, KeyError, TypeError):
        return None
