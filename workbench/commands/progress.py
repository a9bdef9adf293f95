"""Progress drawn from events alone: a bar on a terminal, sparse lines anywhere else."""

import collections
import signal
import time
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from workbench.commands.console import heeding_console
from workbench.commands.drives import heeding_drives
from workbench.commands.notice import Notice, heeding
from workbench.commands.terminal import (
    FIRST_PROCESS,
    byte_size,
    complain,
    console,
    duration,
    is_users_mistake,
    let_go_of_terminal,
    say,
)

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from workbench.records.events import Event
    from workbench.training.run import Run

# Where there is no terminal (a pipe, a log file), a line after this time or this share of the work.
LINE_EVERY_S = 30.0
LINE_EVERY_SHARE = 0.2


@dataclass
class Stage:
    """A stretch of work of which it is known how far it is.

    Attributes:
        first: units done when it began; a resumed run does not begin at 0.
        began: `time.monotonic()` then.
        shown: units done when a line last said so, and when that was.
        task: number of its bar.
        rest: rate and note of the latest update.
    """

    name: str
    first: int
    began: float
    shown: tuple[int, float]
    task: Any = None
    done: int = 0
    total: int = 1
    rest: str = ""


class StageBar:
    """Shows one stage after the other, each as a bar that ends as a line that stays."""

    def __init__(self):
        self._stage: Stage | None = None
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

    def __exit__(self, *_: object) -> None:
        self.end()
        if self._bars is not None:
            self._bars.stop()

    def update(
        self,
        name: str,
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
            name: what is being done.
            done: units done, in [0, total].
            total: units in all.
            unit: what is counted, for the rate.
            per_s: units a second; measured here when left out.
            eta_s: seconds left; estimated here when left out.
            note: what else to show, for example the loss.
        """
        now = time.monotonic()
        if self._stage is None or self._stage.name != name:
            self.end()
            self._stage = Stage(name, done, now, (done, now))
            if self._bars is not None:
                self._stage.task = self._bars.add_task(f"  {escape(name)}", rest="")
        stage = self._stage
        stage.done, stage.total = done, total
        if per_s is None:
            per_s = (done - stage.first) / max(now - stage.began, 1e-3)
        if eta_s is None and per_s > 0:
            eta_s = (total - done) / per_s
        rate = f"{per_s:.3g} {unit}/s" if unit and per_s > 0 else ""
        stage.rest = ", ".join(filter(None, (rate, note)))
        left = f"{duration(eta_s)} left" if eta_s is not None and done < total else ""
        self._draw(stage, ", ".join(filter(None, (rate, left, note))), now)

    def line(self, text: str, *, style: str | None = None) -> None:
        """Print a line; a stage that is through ends before it.

        Args:
            text: what happened.
            style: see `say`.
        """
        # A stage of one unit says nothing at its end: what comes next does.
        stage = self._stage
        if stage is not None and (stage.total <= 1 or stage.done >= stage.total):
            self.end()
        say(f"  {text}", style=style)

    def end(self) -> None:
        """End the current stage."""
        stage, self._stage = self._stage, None
        if stage is None:
            return
        if self._bars is not None:
            self._bars.remove_task(stage.task)
        count = f"{stage.done} of {stage.total}, " if stage.total > 1 else ""
        took = duration(time.monotonic() - stage.began)
        say(f"  {stage.name}: {count}{', '.join(filter(None, (took, stage.rest)))}")

    def _draw(self, stage: Stage, rest: str, now: float) -> None:
        if self._bars is not None:
            self._bars.update(
                stage.task, completed=stage.done, total=stage.total, rest=escape(rest)
            )
            return
        done, at = stage.shown
        share = (stage.done - done) / max(stage.total, 1)
        if stage.done < stage.total and (share >= LINE_EVERY_SHARE or now - at >= LINE_EVERY_S):
            say(f"  {stage.name}: {stage.done} of {stage.total}, {rest}")
            stage.shown = (stage.done, now)


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
        self.reason: str | None = None  # why the run finished
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

    def _started(self, event: Any) -> None:
        self._total_steps = event.total_steps
        held_out = f", {event.num_held_out} held out" if event.num_held_out else ""
        self._bar.line(
            f"{event.num_images} images{held_out}, {event.total_steps} steps on {event.device} "
            f"in {event.precision}"
        )
        if event.captions:
            self._bar.line(event.captions)

    def _resumed(self, event: Any) -> None:
        self._total_steps = event.total_steps
        for damaged in event.set_aside:
            self._bar.line(f"checkpoint not valid, set aside: {damaged}", style="yellow")
        self._bar.line(f"going on after step {event.step} of {event.total_steps}")
        for change in event.changes:
            self._bar.line(f"changed: {change}")

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
        self._bar.line(f"step {event.step}: stable loss on {images} images {event.loss:.4f}{base}")

    def _saved(self, event: Any) -> None:
        if event.what == "lora":
            self._bar.line(f"step {event.step}: saved {event.path} ({byte_size(event.num_bytes)})")

    def _sampled(self, event: Any) -> None:
        of = "of the base" if event.base else f"at step {event.step}"
        took = f" in {duration(event.seconds)}" if event.seconds else ""
        count = len(event.pictures)
        self._bar.line(f"{count} sample{'s' if count > 1 else ''} {of}{took}")

    def _watched(self, event: Any) -> None:
        from workbench.records.marks import sentence

        self._bar.line(f"step {event.step} against the base: {sentence(event)}")

    def _warned(self, event: Any) -> None:
        fix = f"; {event.fix}" if event.fix else ""
        word, style = ("note", "dim") if event.severity == "note" else ("warning", "yellow")
        self._bar.line(f"{word}: {event.message}{fix} [{event.id}]", style=style)

    def _paused(self, event: Any) -> None:
        self._bar.line(f"paused after step {event.step}: {event.reason}", style="yellow")

    def _continued(self, event: Any) -> None:
        self._bar.line(f"going on after step {event.step}")

    def _proved(self, event: Any) -> None:
        result = "passed" if event.passed else "FAILED"
        self._bar.line(f"reload proof {result}", style=None if event.passed else "bold red")
        if not event.passed:
            for finding in event.findings:
                self._bar.line(f"  {finding}", style="red")

    def _finished(self, event: Any) -> None:
        self.reason = event.reason

    def _reported(self, event: Any) -> None:
        self.report, self.verdict = event.path, event.verdict

    def _failed(self, event: Any) -> None:
        self.failed = True
        fix = f"; {event.fix}" if event.fix else ""
        self._bar.end()
        complain(f"failed: {event.error}{fix}")


def follow(run: "Run", view: EventView, notice: Notice | None = None) -> int:
    """Draw a run's events to its end; a signal ends it after the present step, with it saved.

    SIGTERM saves and leaves, and so does SIGHUP, the end of the terminal, unless it was ignored
    when the process started (nohup); on Windows CTRL_BREAK and the end of the console. A second
    Ctrl-C alone ends the process at once, unsaved.

    Args:
        run: trains while its events are read.
        view: draws them.
        notice: how the machine says that it will be taken away, which acts as SIGTERM.
    Returns:
        Exit code: 0 done, 1 failed, 2 the user's mistake, 130 after SIGINT, 143 after SIGTERM,
        SIGHUP and a notice.
    Raises:
        Exception: what the run failed of, if that is no mistake of the user's.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT in received:
            raise SystemExit(128 + number)
        received.append(number)
        if number == signal.SIGINT and run.asked is None:
            run.stop("stopped")
            say("  stopping after this step (Ctrl-C once more: at once, without saving)")
        elif number != signal.SIGINT:
            if number != signal.SIGTERM:
                let_go_of_terminal()
            run.stop("terminated", because=f"signal {signal.Signals(number).name}")
            say("  saving and leaving (Ctrl-C once more: at once, without saving)")

    def closed() -> None:
        received.append(signal.SIGTERM)
        let_go_of_terminal()
        run.stop("terminated", because="the console's end")

    def told_to_leave() -> bool:
        """By a signal or a notice; a stop asked for by a face or by code is an end in order."""
        return bool(received) or run.asked == "terminated"

    numbers = ending_signals()
    previous = {number: signal.signal(number, stop) for number in numbers}
    noticed = heeding(notice or Notice(), run, say)
    try:
        with heeding_console(closed), noticed, heeding_drives(run, numbers):
            for event in run.train():
                view.draw(event)
                if told_to_leave() and not view.in_steps:
                    break  # nothing is learned yet that the next step's end could save
    except ValueError as error:
        if not (view.failed and is_users_mistake(error)):
            raise
        return 2
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if told_to_leave() and view.reason != "complete":
        return 128 + (signal.SIGTERM if run.asked == "terminated" else signal.SIGINT)
    return int(view.failed)


def ending_signals() -> list[signal.Signals]:
    """Signals that end a run; a closed terminal's unless it was ignored when the process started.

    Returns:
        The signals.
    """
    ends = ("SIGHUP", "SIGBREAK")  # of a terminal; the second is Windows'
    known = [getattr(signal, name) for name in ends if hasattr(signal, name)]
    heard = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
    return [signal.SIGINT, signal.SIGTERM, *heard]
