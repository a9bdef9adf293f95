"""`runs` and `diagnose`: what has really become of every run, and whether one learns."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.terminal import duration, say, table

if TYPE_CHECKING:
    from workbench.records.events import Event


def runs(
    folder: Annotated[Path, typer.Argument(help="where run folders lie.")] = Path("runs"),
) -> None:
    """List the runs: queued, running, paused, finished, stopped, failed or crashed."""
    from workbench.workspace.folders import Workspace
    from workbench.workspace.overview import overview, standings

    home = folder.resolve().parent
    is_workspace = folder.name == "runs" and (home / "queue").is_dir()
    found = overview(Workspace(home)) if is_workspace else standings(folder)
    if not found:
        say(f"No runs in {folder}.")
        return
    rows = [
        (
            one.name,
            one.state if one.position is None else f"{one.state} ({one.position})",
            f"{one.summary.step} of {one.summary.total_steps or '?'}",
            duration(one.summary.elapsed_s),
            one.cause or one.summary.verdict or "",
        )
        for one in found
    ]
    table(("run", "state", "step", "time", ""), rows)


TONES = {"good": "bold green", "unsure": "bold yellow", "bad": "bold red"}


def diagnose(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder.")],
) -> None:
    """Say whether a run learns, what that rests on, and what to do where it does not."""
    from workbench.evaluation.diagnosis import diagnose as judge
    from workbench.records import log
    from workbench.records.events import Likeness
    from workbench.store import FileRefused, shown

    if not (run / log.FILE_NAME).exists():
        raise FileRefused(
            f"{shown(run)} is no run folder: it holds no {log.FILE_NAME}; `workbench runs` lists "
            "the runs"
        )
    events = log.read(run)
    judged = any(isinstance(event, Likeness) for event in events)
    verdict = judge(run, more=[] if judged else _likeness(run, events))
    say(verdict.sentence, style=TONES[verdict.tone])
    for line in verdict.evidence:
        say(f"  {line}")
    if verdict.faults:
        say(f"  Named: {', '.join(fault.id for fault in verdict.faults)}")


def _likeness(run: Path, events: "list[Event]") -> "list[Event]":
    """Samples against training pictures, where both are there."""
    from workbench.evaluation.copying import likeness
    from workbench.settings import SettingsError
    from workbench.store import FileRefused

    try:
        found = likeness(run, events)
    except (FileRefused, SettingsError) as error:
        say(f"  whether samples copy training pictures cannot be said: {error}")
        return []
    return [found] if found is not None else []
