"""How a run is made, in Python and by every face: with the observers that prove and report it."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from workbench import checks
from workbench.recipe import Recipe
from workbench.records import log
from workbench.records.events import (
    Event,
    Finished,
    Preparing,
    Proved,
    Reported,
    Sampled,
    Saved,
    Warned,
)
from workbench.records.sampling import Interrupted, heed, interruptible
from workbench.settings import SettingsError
from workbench.store import FileRefused, shown, unportable, why_away
from workbench.training.run import Observer, Run
from workbench.training.saving import all_changes, changes, refuse_changes


def start(recipe: Recipe, *, folder: str | Path | None = None) -> Run:
    """Make a run; nothing heavy happens before its events are asked for.

    Args:
        recipe: what to do.
        folder: the run folder; by default `<output.folder>/<name>`, numbered where that exists.
    Returns:
        The run: `for event in run.train(): ...`.
    Raises:
        SettingsError: a rule of `workbench.checks` refuses the recipe, or the folder holds a run.
    """
    if broken := unportable(recipe.name):
        raise SettingsError(f"name {broken}, got {recipe.name!r}")
    checks.require(recipe)
    place = Path(recipe.output.folder if folder is None else folder)
    if why := why_away(place):
        raise SettingsError(f"output.folder {shown(place)} {why}, or choose another one")
    if folder is None:
        return _observed(recipe, free_folder(Path(recipe.output.folder) / recipe.name))
    if (Path(folder) / "events.jsonl").exists():
        raise SettingsError(
            f"{folder} holds a run already; resume it, or choose another folder or name"
        )
    return _observed(recipe, Path(folder))


def resume(folder: str | Path, overrides: Sequence[str] = (), *, accept: bool = False) -> Run:
    """Go on with a run from its newest valid checkpoint.

    Args:
        folder: the run folder.
        overrides: changes such as "length.steps=+500".
        accept: go on although a change makes the run compute something else than it began with.
    Returns:
        The run.
    Raises:
        FileRefused: no recipe there.
        SettingsError: a change is unknown, or would alter what the run computes.
    """
    if not (Path(folder) / "recipe.toml").exists():
        raise FileRefused(
            f"{shown(folder)} is no run folder: it holds no recipe.toml; `workbench runs` lists "
            "the runs"
        )
    old = Recipe.load(Path(folder) / "recipe.toml")
    new = old.override(overrides)
    if not accept:
        refuse_changes(changes(old, new))
    checks.require(new)
    changed = all_changes(old, new)
    return _observed(new, Path(folder), resuming=True, accept=accept, changes=changed)


def _observed(recipe: Recipe, folder: Path, **options: Any) -> Run:
    observers = [checks.observe, _lasting(_watching()), _lasting(_prove), _lasting(_report)]
    # From now on the run may be resumed from any working directory.
    return Run(recipe.anchored(Path.cwd()), folder, observers=observers, **options)


def free_folder(folder: Path) -> Path:
    """Where a new run can lie.

    Args:
        folder: where it is wanted.
    Returns:
        The folder, or the next numbered one that does not exist.
    """
    candidate, number = folder, 1
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _lasting(observer: Observer) -> Observer:
    """Turn an out-of-memory error in the proof or report into a warning; the file is saved."""

    def guarded(run: Run, event: Event) -> Iterator[Event]:
        try:
            yield from observer(run, event)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            yield Warned(
                id="evaluation-memory",
                message="the device has no room left to prove or compare the saved file",
                fix="run `workbench verify` and `workbench compare` on the run afterwards",
            )

    return guarded


def _watching() -> Observer:
    """Compare samples along the way with the base's; nothing heavy is imported before."""
    watchers: list[Observer] = []

    def watch(run: Run, event: Event) -> Iterator[Event]:
        if isinstance(event, Sampled) and not event.base:
            from workbench.evaluation.watching import Watcher

            watchers[:] = watchers or [Watcher()]
            yield from watchers[0](run, event)

    return watch


def _prove(run: Run, event: Event) -> Iterator[Event]:
    """Put the final file on the base in place of what was trained, and compare the two.

    The run is whole by now, so a run in a hurry leaves the proof at the model's next call.
    """
    if not (isinstance(event, Saved) and event.final):
        return
    from workbench.evaluation.parity import STAGES, proving

    try:
        with (
            interruptible(run.trainer.family, lambda: run.asked == "terminated"),
            closing(proving(run)) as stages,  # puts the trained adapter back, however it ends
        ):
            while True:
                try:
                    done = next(stages)
                except StopIteration as end:
                    proof = end.value
                    break
                yield Preparing(stage="proving the file", done=done, total=STAGES)
                heed()
    except Interrupted:
        yield Warned(
            id="proof-left",
            message="the run was asked to end before the saved file was proved",
            fix=f"run `workbench verify {run.folder}`",
            severity="note",
        )
        return
    yield Proved(
        step=event.step,
        path=event.path,
        passed=proof.passed,
        findings=proof.findings,
        numbers=proof.numbers,
    )


def _report(run: Run, event: Event) -> Iterator[Event]:
    """Write the A/B page once the run is complete."""
    if isinstance(event, Finished) and event.reason == "complete" and run.recipe.output.report:
        from workbench.evaluation import diagnosis, page
        from workbench.evaluation.report import gather, write_report

        if run.prompts():
            yield from _likeness(run)
            path = write_report(run)
        else:
            path = page.write(gather(run.folder), run.folder / "report.html")
        verdict = diagnosis.diagnose(run.folder)
        yield Reported(path=run.inside(path), verdict=verdict.sentence)


def _likeness(run: Run) -> Iterator[Event]:
    """Compare the samples with the training pictures, before the verdict is made."""
    from workbench.evaluation.copying import likeness

    try:
        found = likeness(run.folder, log.read(run.folder))
    except (FileRefused, SettingsError) as error:  # pictures that went away while it trained
        yield Warned(
            id="copying-unknown",
            message=f"whether samples copy training pictures cannot be said: {error}",
        )
    else:
        yield from [found] if found is not None else []
