"""`runs`: every run and what has really become of it."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.terminal import duration, say, table


def runs(
    folder: Annotated[Path, typer.Argument(help="where run folders lie.")] = Path("runs"),
) -> None:
    """List the runs: running, paused, finished, stopped, failed or crashed."""
    from workbench.records import history

    found = history.runs(folder)
    if not found:
        say(f"No runs in {folder}.")
        return
    rows = [
        (
            run.name,
            run.state,
            f"{run.step} of {run.total_steps or '?'}",
            duration(run.elapsed_s),
            run.cause or run.verdict or "",
        )
        for run in found
    ]
    table(("run", "state", "step", "time", ""), rows)
