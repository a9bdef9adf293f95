"""A run as pages look at it: read once for all of them, and then only what is new."""

import functools
import threading
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from workbench import store
from workbench.evaluation import curves, diagnosis
from workbench.evaluation.results import Verdict
from workbench.records import judgement, log
from workbench.records.events import (
    Event,
    Failed,
    Finished,
    Likeness,
    Measured,
    Preparing,
    Progress,
    Validated,
    Watched,
)
from workbench.records.judgement import Judgement
from workbench.records.timesteps import STEPS

MAX_POINTS = 300  # of a curve, at least; a page has hardly more pixels for it
MAX_VIEWS = 8
T = TypeVar("T")
# What a figure is drawn from: it is drawn anew only when there is more of that.
_SOURCES: dict[str, type] = {
    "stable_loss": Validated,
    "timesteps": Validated,
    "weight_change": Measured,
    "weight_change_by_step": Measured,
    "ema_lag": Measured,
    "watched": Watched,
    "watched_colours": Watched,
}
# What a verdict rests on, beside the steps themselves.
_TELLING = (Validated, Measured, Likeness, Finished, Failed)


@dataclass
class View:
    """One run, kept up to date.

    Attributes:
        folder: the run folder.
        events: all that still count; of a long run's steps only as many as a curve can show, and
            the latest ones.
        seq: of the last event that was read.
        latest: the newest event of each type.
    """

    folder: Path
    events: list[Event] = field(default_factory=list)
    seq: int = 0
    latest: dict[type, Event] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _drawn: dict[str, tuple[int, str]] = field(default_factory=dict)
    _judged: tuple[int, Judgement | None, Verdict] | None = None

    def refresh(self) -> int:
        """Read what was recorded since the last time.

        Returns:
            The seq of the last event.
        """
        with self._lock:
            new = log.read(self.folder, after=self.seq)
            if new:
                self.seq = new[-1].seq
                self.events = _thinned(log.current([*self.events, *new]))
                self.latest |= {type(event): event for event in new}
        return self.seq

    def of(self, kind: type[T]) -> list[T]:
        """All events of one type.

        Args:
            kind: the type.
        Returns:
            Those that still count.
        """
        return [event for event in self.events if isinstance(event, kind)]

    def version(self, figure: str) -> int:
        """Rises when a figure would look different.

        Args:
            figure: as `evaluation.curves.figures` calls it.
        Returns:
            The seq of the last event that it is drawn from; 0 without any.
        """
        source = self.latest.get(_SOURCES.get(figure, Progress))
        return source.seq if source is not None else 0

    def figure(self, name: str) -> str:
        """A figure as JSON, drawn once for all pages that look at it.

        Args:
            name: as `evaluation.curves.names` says it.
        Returns:
            Plotly's JSON; "" where the events hold no numbers for it.
        """
        version = self.version(name)
        with self._lock:
            if self._drawn.get(name, (0, ""))[0] != version:
                drawn = curves.figures(self.events, only=(name,)).get(name)
                self._drawn[name] = (version, str(drawn.to_json()) if drawn else "")
            return self._drawn.get(name, (0, ""))[1]

    def verdict(self) -> Verdict:
        """Whether the run learns, judged anew when there is something new to judge by.

        Returns:
            The verdict.
        """
        seq = max((e.seq for kind, e in self.latest.items() if kind in _TELLING), default=0)
        judged = judgement.load(self.folder)
        if self._judged is None or self._judged[:2] != (seq, judged):
            found = diagnosis.verdict(self.events, recipe=_plain(self.folder), judged=judged)
            self._judged = (seq, judged, found)
        return self._judged[2]


def view(folder: Path) -> View:
    """Look at a run through the view that all pages share.

    Args:
        folder: the run folder.
    Returns:
        The view, as it was left; `refresh` brings it up to date.
    """
    path = folder / log.FILE_NAME
    # Another run of the same name has another file.
    return _view(folder, path.stat().st_ino if path.exists() else 0)


@functools.lru_cache(maxsize=MAX_VIEWS)
def _view(folder: Path, file: int) -> View:
    return View(folder)


def _plain(folder: Path) -> dict[str, object]:
    path = folder / "recipe.toml"
    return tomllib.loads(store.read_text(path)) if path.exists() else {}


def _thinned(events: Sequence[Event]) -> list[Event]:
    """Of a long run's earlier steps keep every second, fourth, eighth ..., evenly over the run."""
    steps = [event.step for event in events if isinstance(event, Progress)]
    stride = 1
    while steps and steps[-1] > 2 * MAX_POINTS * stride:
        stride *= 2
    recent = steps[-STEPS:][0] if steps else 0
    return [
        event
        for event in events
        if not isinstance(event, Preparing | Progress)
        or (
            isinstance(event, Progress)
            and (event.step >= recent or event.step % stride == 1 % stride)
        )
    ]
