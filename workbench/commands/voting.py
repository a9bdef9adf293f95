"""`votes`: what blind votes say of a run, and files of votes brought to it."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.terminal import say


def votes(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="votes that a report page saved, to count too."),
    ] = None,
) -> None:
    """Count a run's blind votes: of all raters, one vote a pair, by majority.

    Files that a report page saved are copied into the run's votes folder first. The report shows
    the new count.
    """
    from workbench.evaluation.vote_page import renew
    from workbench.evaluation.votes import tallies
    from workbench.records import log
    from workbench.records import votes as records
    from workbench.store import FileRefused, shown

    if not (run / log.FILE_NAME).exists():
        raise FileRefused(
            f"{shown(run)} is no run folder: it holds no {log.FILE_NAME}; `workbench runs` lists "
            "the runs"
        )
    sheets = [records.read_sheet(path) for path in files or ()]  # all are sound, or none is taken
    for sheet in sheets:
        records.save(run, sheet)
        say(f"{len(sheet.votes)} votes of {sheet.rater} are counted.")
    kept, refused = records.load(run)
    for line in refused:
        say(f"Not counted: {line}", style="yellow")
    if not kept:
        say(f"Nobody has voted on {shown(run)} yet: the app's tab Compare and the report page ask.")
    for count in tallies(kept):
        say(count.sentence, style="bold" if count.winner else None)
        if count.agreement:
            say(f"  {count.agreement.sentence}")
    if renew(run):
        say(str(run / "report.html"))
