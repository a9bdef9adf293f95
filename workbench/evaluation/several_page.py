"""The page of several runs side by side."""

from pathlib import Path

from workbench.evaluation import page
from workbench.evaluation.page import Report
from workbench.evaluation.results import Comparison, Verdict
from workbench.evaluation.several import Several


def write(found: Several, path: Path) -> Path:
    """Write the page, whole or not at all.

    Args:
        found: the runs.
        path: the .html file.
    Returns:
        The path.
    """
    return page.write(report(found), path)


def fragment(found: Several) -> str:
    """The page in a frame, for a notebook cell.

    Args:
        found: the runs.
    Returns:
        HTML.
    """
    return page.framed(page.render(report(found)), title=" and ".join(found.names))


def report(found: Several) -> Report:
    """Lay runs out as a report: two of them also as pairs, which can be voted on.

    Args:
        found: the runs.
    Returns:
        The report.
    """
    two = found.names if len(found.names) == 2 else None
    comparison = Comparison(found.pairs(*two)) if two is not None else None
    told = zip(found.names, found.verdicts, strict=True)
    return Report(
        name=", ".join(found.names),
        subtitle=f"{len(found.names)} runs",
        verdict=Verdict(
            f"{len(found.names)} runs at equal prompts and seeds",
            evidence=tuple(f"{name}: {verdict}" for name, verdict in told if verdict),
        ),
        comparison=comparison,
        labels=two or ("base", "LoRA"),
        figures=found.figures,
        several=found,
        offer=two,
        question="better",
    )
