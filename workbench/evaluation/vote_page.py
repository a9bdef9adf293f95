"""Blind votes on the report page: what was voted, and what the page needs to be voted on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import store
from workbench.evaluation.statistics import LEVEL

if TYPE_CHECKING:
    from workbench.evaluation.page import Report
    from workbench.evaluation.votes import Tally

_START, _END = "<!--votes-->", "<!--/votes-->"


def rows(votes: "Sequence[Tally]", refused: Sequence[str] = ()) -> str:
    """Show counted votes.

    Args:
        votes: one a contest.
        refused: why files were not counted.
    Returns:
        HTML.
    """
    from workbench.evaluation.page import template

    return template("vote_rows.html.j2").render(votes=votes, refused=refused)


def data(report: "Report") -> str:
    """What the page's script needs to hold a vote.

    Args:
        report: with sides on offer.
    Returns:
        JSON: the pairs and where they stand, names of the sides, level of the interval.
    """
    if report.offer is None or report.comparison is None:
        return "null"
    contests = {(one.question, tuple(sorted(one.names))) for one in report.votes}
    contests.add((report.question, tuple(sorted(report.offer))))
    spoilt = report.question == "spoilt"
    shown = report.comparison.leakage if spoilt else report.comparison.pairs
    asked = {
        "question": report.question,
        "where": "#plain" if spoilt else "#with",
        "pairs": [{"prompt": one.prompt, "seed": one.seed} for one in shown],
        "sides": report.offer,
        "level": 1 - LEVEL / len(contests),
    }
    return json.dumps(asked)


def renew(folder: str | Path) -> bool:
    """Show a run's votes as they are now in the report that it has.

    Args:
        folder: the run folder.
    Returns:
        Whether there is a report that shows votes.
    """
    from workbench.evaluation.votes import tallies
    from workbench.records.votes import load

    path = Path(folder) / "report.html"
    if not path.is_file():
        return False
    before, start, rest = store.read_text(path).partition(_START)
    _, end, after = rest.partition(_END)
    if not start or not end:
        return False
    sheets, refused = load(folder)
    shown = rows(tallies(sheets), refused)
    store.write_text(path, before + _START + shown + _END + after)
    return True
