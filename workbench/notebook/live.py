"""A run in a cell: events in, one picture that keeps up with them."""

import html
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from workbench import launch, store
from workbench.evaluation.experiment import differences
from workbench.evaluation.page import duration
from workbench.notebook.keeping import bring_back, keep
from workbench.notebook.shown import Shown, grid, table
from workbench.plots.inline import curve_svg
from workbench.recipe import Recipe
from workbench.records import history
from workbench.records.events import (
    Event,
    Failed,
    Finished,
    Preparing,
    Progress,
    Proved,
    Reported,
    Resumed,
    Sampled,
    Saved,
    Started,
    Validated,
    Warned,
    Watched,
)
from workbench.records.marks import sentence
from workbench.training.run import Run

REDRAW_EVERY_S = 0.7
MAX_PICTURES = 8


def train(recipe: Recipe, *, again: bool = False, home: Path | None = None) -> Run:
    """Train in a cell and watch it; what is done already is not done twice.

    A run of the same recipe that was cut off, with its runtime for example, goes on from its last
    checkpoint, and one that is complete is taken as it is.

    Args:
        recipe: what to do.
        again: start anew in any case.
        home: a folder that outlives this machine, such as a mounted drive: what the run saves is
            copied there and read back, and a run that only lies there is fetched first.
    Returns:
        The run, complete; its `folder` holds all that came of it.
    Raises:
        Exception: whatever went wrong, after the cell has shown it.
    """
    if home is not None and not again:
        bring_back(Path(recipe.output.folder) / recipe.name, home)
    return _train(recipe, Place(), again=again, home=home)


def train_all(recipes: Mapping[str, Recipe], *, silent: bool = False) -> dict[str, Run]:
    """Train several recipes one after the other and watch them in one place.

    Args:
        recipes: name to recipe; each needs a name or an output folder of its own.
        silent: show how far they are and nothing that tells how each of them does.
    Returns:
        Name to run, complete, as `train` returns it.
    Raises:
        Exception: whatever went wrong in one of them; the others before it are kept.
    """
    place, done, rows = Place(silent=silent), {}, {}
    for number, (name, recipe) in enumerate(recipes.items(), 1):
        place.heading = f"{number} of {len(recipes)}, {name}"
        done[name] = _train(recipe, place)
        ended = Live.of(done[name].folder)
        rows[name] = {"steps": ended.steps[-1] if ended.steps else 0}
        if not silent:
            rows[name]["stable loss"] = ended.gap and f"{ended.gap:+.1%}"
        rows[name]["seconds"] = ended.seconds
    place.heading = ""
    place.show(table(rows, heading="run"))
    return done


def watch(run: Run) -> Run:
    """Do a run and show in the cell how it goes.

    Args:
        run: not begun yet.
    Returns:
        The same run, complete.
    Raises:
        Exception: whatever went wrong, after the cell has shown it.
    """
    return _watch(run, Place())


class Place:
    """One place in a cell, drawn anew; lines where there is no notebook.

    Args:
        silent: runs show their progress alone.

    Attributes:
        heading: stands above whatever is shown.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.heading, self.silent = "", silent
        self._handle: Any = None
        self._drawn = 0.0

    def show(self, shown: Shown) -> None:
        """Put something in the place of what was shown.

        Args:
            shown: what to draw.
        """
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        head = f"<b>{html.escape(self.heading)}</b>" if self.heading else ""
        text = "\n".join(filter(None, (self.heading, shown.text)))
        framed = Shown(f"<div>{head}{shown.markup}</div>", text)
        if get_ipython() is None:
            print(text.splitlines()[0], file=sys.stderr)
        elif self._handle is None:
            self._handle = display(framed, display_id=True)
        else:
            self._handle.update(framed)
        self._drawn = time.monotonic()

    @property
    def is_old(self) -> bool:
        """Whether what is shown may be drawn anew: pages that change too often flicker."""
        return time.monotonic() - self._drawn > REDRAW_EVERY_S


def _train(recipe: Recipe, place: Place, *, again: bool = False, home: Path | None = None) -> Run:
    found = None if again else _earlier(recipe)
    if found is None:
        return _watch(launch.start(recipe), place, home)
    if found.state == "finished":
        live = Live.of(found.folder)
        said = "complete since an earlier call"
        place.show(live.progress() if place.silent else live.shown(said))
        return Run(Recipe.load(found.folder / "recipe.toml"), found.folder)
    return _watch(launch.resume(found.folder), place, home)


def _watch(run: Run, place: Place, home: Path | None = None) -> Run:
    live = Live(run.folder)
    try:
        for event in run.train():
            if live.add(event) or place.is_old:
                place.show(live.progress() if place.silent else live.shown())
            if home is not None and isinstance(event, Saved):
                keep(run.folder, home)
    finally:
        place.show(live.progress() if place.silent else live.shown())
    if home is not None:
        keep(run.folder, home)
    return run


class Live:
    """What is known of a run so far, and its picture.

    Args:
        folder: the run folder, where samples lie.

    Attributes:
        gap: latest stable loss on training pictures, as change against the base.
        seconds: that the run's processes have lived.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.total_steps, self.status = 0, "loading"
        self.gap: float | None = None
        self.seconds = 0.0
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.pictures: dict[str, dict[str, Image.Image]] = {}
        self.notes: list[str] = []

    @classmethod
    def of(cls, folder: Path) -> "Live":
        """Read what a run left behind.

        Args:
            folder: the run folder.
        Returns:
            Its picture, up to its last event.
        """
        from workbench.records.log import read

        live = cls(folder)
        for event in read(folder):
            live.add(event)
        return live

    def add(self, event: Event) -> bool:
        """Take in the next event.

        Args:
            event: of the run.
        Returns:
            Whether it is worth showing at once.
        """
        self.seconds = max(self.seconds, event.elapsed_s)
        match event:
            case Started() | Resumed():
                self.total_steps = event.total_steps
            case Preparing():
                self.status = f"{event.stage}: {event.done} of {event.total}"
            case Progress():
                self._step(event)
            case Validated() if event.base_loss:
                gap = event.loss / event.base_loss - 1
                which = "training" if event.split == "train" else "held-out"
                self.gap = gap if which == "training" else self.gap
                self.status = f"stable loss on {which} pictures: {gap:+.1%} against the base"
            case Sampled():
                self._sampled(event)
            case Watched():
                self.status = f"step {event.step} against the base: {sentence(event)}"
            case _:
                return self._said(event)
        return isinstance(event, Started | Sampled)

    def progress(self) -> Shown:
        """Draw how far the run is, and nothing of what it learns or warns about.

        Returns:
            A line; why it failed, where it did.
        """
        failed = self.status if self.status.startswith("failed") else ""
        done = f"step {self.steps[-1] if self.steps else 0} of {self.total_steps or '?'}"
        said = f"{self.folder.name}: {failed or done}"
        return Shown(f"<div>{html.escape(said)}</div>", said)

    def shown(self, status: str = "") -> Shown:
        """Draw the picture.

        Args:
            status: instead of the run's own.
        Returns:
            Status, bar, loss, latest samples and what was warned about.
        """
        said = f"{self.folder.name}: {status or self.status}"
        done = self.steps[-1] / max(self.total_steps, self.steps[-1]) if self.steps else 0.0
        bar = (
            '<div style="width:560px;height:6px;border-radius:3px;background:#8884">'
            f'<div style="width:{done:.1%};height:6px;border-radius:3px;background:#0072b2"></div>'
            "</div>"
        )
        curve = ""
        if self.steps:
            end = float(self.total_steps)
            curve = curve_svg(self.steps, self.losses, label="loss, by step", last=end)
        samples = grid(self.pictures, width_px=112) if self.pictures else Shown("", "")
        notes = "".join(f"<div>{html.escape(note)}</div>" for note in self.notes)
        markup = f"<div>{html.escape(said)}</div>{bar}{curve}{samples.markup}{notes}"
        return Shown(markup, "\n".join([said, *self.notes]))

    def _step(self, event: Progress) -> None:
        while self.steps and self.steps[-1] >= event.step:  # a resumed run does steps once more
            self.steps.pop()
            self.losses.pop()
        self.steps.append(event.step)
        self.losses.append(event.loss)
        left = f", {duration(event.eta_s)} left" if event.eta_s else ""
        self.status = (
            f"step {event.step} of {self.total_steps or '?'}, {event.steps_per_s:.1f} steps/s{left}"
        )

    def _sampled(self, event: Sampled) -> None:
        row: dict[str, Image.Image] = {}
        for one in event.pictures[:MAX_PICTURES]:
            path = self.folder / one.path
            if path.is_file():
                with store.open_image(path) as image:
                    row[f"{one.prompt} ({one.seed})"] = image.convert("RGB")
        latest = {"base": row} if event.base else {f"step {event.step}": row}
        self.pictures = {k: v for k, v in self.pictures.items() if k == "base"} | latest

    def _said(self, event: Event) -> bool:
        """Events that are sentences."""
        match event:
            case Warned():
                sign = "note:" if event.severity == "note" else "!"
                self.notes.append("; ".join(filter(None, (f"{sign} {event.message}", event.fix))))
            case Proved():
                result = "passed" if event.passed else "FAILED: " + "; ".join(event.findings)
                self.notes.append(f"reload proof {result}")
            case Reported():
                self.notes += [event.verdict or "", f"report: {self.folder / event.path}"]
            case Finished():
                self.status = f"{event.reason} after {event.step} steps"
            case Failed():
                self.status = f"failed: {event.error}"
                self.notes += [event.fix] if event.fix else []
            case _:
                return False
        return True


def _earlier(recipe: Recipe) -> history.Summary | None:
    """The newest run of this very recipe that is complete, or can go on."""
    for found in history.runs(recipe.output.folder):
        path = found.folder / "recipe.toml"
        if found.state in ("running", "paused") or not path.exists():
            continue
        same = Recipe.load(path)
        whole = found.state == "finished" or any((found.folder / "checkpoints").glob("step-*"))
        if whole and same.name == recipe.name and not differences(same, recipe):
            return found
    return None
