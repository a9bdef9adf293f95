"""What the terminal shows: progress drawn from events alone, a mistake in one red line."""

import collections
import os
import signal
import time
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from workbench.records.events import Event
    from workbench.training.run import Run

PACKAGE = Path(__file__).parents[1]
# Of many processes that share a run, the first one speaks.
FIRST_PROCESS = os.environ.get("RANK", "0") == "0"
# Where there is no terminal (a pipe, a log file), a line after this time or this share of the work.
LINE_EVERY_S = 30.0
LINE_EVERY_SHARE = 0.2

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="settings to change, for example adapter.rank=8"),
]

console = Console(quiet=not FIRST_PROCESS, highlight=False, soft_wrap=True)
error_console = Console(stderr=True, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Write a span of time for people.

    Args:
        seconds: >= 0.
    Returns:
        For example "4.2 s", "3 min 05 s" or "2 h 10 min".
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def byte_size(num_bytes: float) -> str:
    """Write a size for people.

    Args:
        num_bytes: >= 0.
    Returns:
        For example "640 KiB" or "2.1 GiB".
    """
    size, units = float(num_bytes), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1000 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.3g} {unit}"


def say(text: str = "", *, style: str | None = None) -> None:
    """Print one line of plain text; brackets in it are text, not markup.

    Args:
        text: the line.
        style: rich style of the whole line, for example "bold green".
    """
    console.print(escape(text), style=style)


def complain(text: str) -> None:
    """Print the user's mistake, with its fix, on standard error.

    Args:
        text: one line a mistake.
    """
    error_console.print(escape(text), style="bold red")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, whole words wherever the terminal is narrow.

    Args:
        header: one title a column.
        rows: plain text, as many cells as titles.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(*header, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        grid.add_row(*map(escape, row))
    console.print(grid)


class StageBar:
    """Progress of one stage after the other: a bar on a terminal, sparse lines anywhere else."""

    def __init__(self):
        self._stage = ""
        self._done, self._total, self._started = 0, 0, 0.0
        self._shown_share, self._shown_at = 0.0, 0.0
        self._rate, self._note = "", ""
        self._bars: Bars | None = None

    def __enter__(self) -> "StageBar":
        if console.is_terminal and FIRST_PROCESS:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rest]}"),
                console=console,
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        if self._bars is not None:
            self._bars.stop()

    def update(
        self,
        stage: str,
        done: int,
        total: int,
        *,
        unit: str = "",
        per_s: float | None = None,
        eta_s: float | None = None,
        note: str = "",
    ) -> None:
        """Say how far a stage is; a new stage ends the one before.

        Args:
            stage: what is being done.
            done: units done, in [0, total].
            total: units in all.
            unit: what is counted, for the rate.
            per_s: units a second; measured here when left out.
            eta_s: seconds left; estimated here when left out.
            note: what else to show, for example the loss.
        """
        now = time.monotonic()
        if stage != self._stage:
            self.end()
            self._begin(stage, done, total, now)
        if per_s is None:
            passed_s = now - self._started
            per_s = (done - self._first) / passed_s if passed_s > 0 else 0.0
        if eta_s is None and per_s > 0:
            eta_s = (total - done) / per_s
        self._done, self._total, self._note = done, total, note
        self._rate = f"{per_s:.3g} {unit or 'a'}/s" if unit and per_s > 0 else ""
        eta = f"{duration(eta_s)} left" if eta_s is not None and done < total else ""
        self._draw(", ".join(x for x in (self._rate, eta, note) if x), now)

    def end(self) -> None:
        """End the current stage: its bar becomes a line that stays."""
        if not self._stage:
            return
        if self._bars is not None:
            self._bars.remove_task(self._task)
        took = duration(time.monotonic() - self._started)
        rest = ", ".join(x for x in (took, self._rate, self._note) if x)
        say(f"  {self._stage}: {self._done} of {self._total} ({rest})")
        self._stage = ""

    def _begin(self, stage: str, done: int, total: int, now: float) -> None:
        self._stage, self._first, self._started = stage, done, now
        self._shown_share, self._shown_at = done / max(total, 1), now
        if self._bars is not None:
            self._task = self._bars.add_task(f"  {escape(stage)}", total=total, rest="")

    def _draw(self, rest: str, now: float) -> None:
        if self._bars is not None:
            task = {"completed": self._done, "total": self._total, "rest": escape(rest)}
            self._bars.update(self._task, **task)
            return
        share = self._done / max(self._total, 1)
        due = share - self._shown_share >= LINE_EVERY_SHARE or now - self._shown_at >= LINE_EVERY_S
        if due and self._done < self._total:
            say(f"  {self._stage}: {self._done} of {self._total}, {rest}")
            self._shown_share, self._shown_at = share, now


class EventView:
    """Draws a run's events; it reads nothing else of the run.

    Args:
        bar: where stages are drawn.
    """

    def __init__(self, bar: StageBar):
        self._bar = bar
        self._total_steps = 0
        self._losses: collections.deque[float] = collections.deque(maxlen=50)
        self.failed, self.in_steps = False, False
        self.report: str | None = None
        self.verdict: str | None = None

    def draw(self, event: "Event") -> None:
        """Show one event.

        Args:
            event: the next event of the run.
        """
        drawing = getattr(self, f"_{event.event}", None)
        if drawing is not None:
            drawing(event)

    def _line(self, text: str, *, style: str | None = None) -> None:
        self._bar.end()
        say(f"  {text}", style=style)

    def _started(self, event: Any) -> None:
        self._total_steps = event.total_steps
        held_out = f", {event.num_held_out} held out" if event.num_held_out else ""
        self._line(
            f"{event.num_images} images{held_out}, {event.total_steps} steps on {event.device} "
            f"in {event.precision}"
        )

    def _resumed(self, event: Any) -> None:
        self._total_steps = event.total_steps
        for damaged in event.set_aside:
            self._line(f"checkpoint not valid, set aside: {damaged}", style="yellow")
        self._line(f"going on after step {event.step} of {event.total_steps}")

    def _preparing(self, event: Any) -> None:
        self._bar.update(event.stage, event.done, event.total, unit="items")

    def _progress(self, event: Any) -> None:
        self.in_steps = True
        self._losses.append(event.loss)
        mean = sum(self._losses) / len(self._losses)
        self._bar.update(
            "training",
            event.step,
            max(self._total_steps, event.step),
            unit="steps",
            per_s=event.steps_per_s or None,
            eta_s=event.eta_s,
            note=f"loss {mean:.4f}",
        )

    def _validated(self, event: Any) -> None:
        base = f", base {event.base_loss:.4f}" if event.base_loss is not None else ""
        images = "held-out" if event.split == "held_out" else "training"
        self._line(f"step {event.step}: stable loss on {images} images {event.loss:.4f}{base}")

    def _saved(self, event: Any) -> None:
        if event.what == "lora":
            self._line(f"step {event.step}: saved {event.path} ({byte_size(event.num_bytes)})")

    def _sampled(self, event: Any) -> None:
        of = "of the base" if event.base else f"at step {event.step}"
        took = f" in {duration(event.seconds)}" if event.seconds else ""
        self._line(f"{len(event.pictures)} samples {of}{took}")

    def _warned(self, event: Any) -> None:
        fix = f"; {event.fix}" if event.fix else ""
        self._line(f"warning: {event.message}{fix} [{event.id}]", style="yellow")

    def _paused(self, event: Any) -> None:
        self._line(f"paused after step {event.step}: {event.reason}", style="yellow")

    def _continued(self, event: Any) -> None:
        self._line(f"going on after step {event.step}")

    def _proved(self, event: Any) -> None:
        result = "passed" if event.passed else "FAILED"
        self._line(f"reload proof {result}", style=None if event.passed else "bold red")
        if not event.passed:
            for finding in event.findings:
                self._line(f"  {finding}", style="red")

    def _reported(self, event: Any) -> None:
        self.report, self.verdict = event.path, event.verdict

    def _failed(self, event: Any) -> None:
        self.failed = True
        fix = f"; {event.fix}" if event.fix else ""
        self._bar.end()
        complain(f"failed: {event.error}{fix}")


def follow(run: "Run", view: EventView) -> int:
    """Draw a run's events to its end; a first SIGINT or SIGTERM ends it after the present step.

    A second one does not wait and ends the process at once.

    Args:
        run: trains while its events are read.
        view: draws them.
    Returns:
        Exit code: 0 done, 1 failed, 2 the user's mistake, 130 after SIGINT, 143 after SIGTERM.
    Raises:
        Exception: what the run failed of, if that is no mistake of the user's.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if received:
            raise SystemExit(128 + number)
        received.append(number)
        run.stop("terminated" if number == signal.SIGTERM else "stopped")
        say("  stopping after this step (once more: at once, without saving)")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    events = run.train()
    try:
        for event in events:
            view.draw(event)
            if received and not view.in_steps:
                events.close()  # nothing is learned yet that a checkpoint could keep
                break
    except ValueError as error:
        if not (view.failed and is_users_mistake(error)):
            raise
        return 2
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 128 + received[0] if received else int(view.failed)


def is_users_mistake(error: ValueError) -> bool:
    """Tell the user's mistakes from ours: the code here raises ValueError for the former only.

    One from inside a library says nothing about who is to blame, so it keeps its traceback.

    Args:
        error: as caught.
    Returns:
        Whether it was raised in this package.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return Path(frame.f_code.co_filename).is_relative_to(PACKAGE)
