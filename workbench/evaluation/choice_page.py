"""The page of a choice: the recommendation, the trade-off, the confirmation and its pictures."""

from pathlib import Path

from workbench import store
from workbench.evaluation import page, tables
from workbench.evaluation.choice import Choice
from workbench.evaluation.drift import drift
from workbench.evaluation.page import Report, duration
from workbench.evaluation.results import Verdict
from workbench.evaluation.statistics import Estimate
from workbench.plots.tradeoff import tradeoff


def report(choice: Choice, *, name: str) -> Report:
    """Lay a choice out as a report.

    Args:
        choice: as made.
        name: of what was chosen among.
    Returns:
        What the page shows.
    """
    confirmed, comparison = choice.confirmed, choice.comparison
    figure = {"trade-off": tradeoff([score.spot for score in choice.scores])}
    return Report(
        name,
        Verdict(f"Take {choice.chosen}. {confirmed.sentence}", confirmed.tone, choice.said),
        evidence="What is won and lost",
        subtitle=f"{choice.chosen}, chosen among {_count(choice)}",
        facts={
            "Pictures": f"{choice.num_pictures:,}",
            "Prompts": f"{choice.scores[0].likeness.n} to choose, "
            f"{len({pair.prompt for pair in comparison.pairs})} others to confirm",
            "Took": duration(choice.seconds),
        },
        comparison=comparison,
        progress=choice.strips,
        drift=drift(comparison.leakage or comparison.pairs),
        judged=confirmed,
        intervals=figure | tables.figures(confirmed),
        labels=("base", choice.chosen),
    )


def write(choice: Choice, path: Path, *, name: str) -> Path:
    """Write the page, whole or not at all, with JSON and CSV of the same name beside it.

    Args:
        choice: as made.
        path: the .html file.
        name: of what was chosen among.
    Returns:
        The path.
    """
    shown = report(choice, name=name)
    tables.write_beside(path, choice.confirmed, shown.drift)
    data = store.read_json(path.with_suffix(".json"))
    scores = [
        {
            "candidate": one.name,
            "kind": one.kind,
            "likeness": _numbers(one.likeness),
            "following": None if one.following is None else _numbers(one.following),
        }
        for one in choice.scores
    ]
    chosen = {"name": choice.chosen, "file": str(choice.path), "strength": choice.strength}
    store.write_json(
        path.with_suffix(".json"),
        {"recommendation": choice.recommendation, "chosen": chosen, "candidates": scores} | data,
    )
    return page.write(shown, path)


def _numbers(found: Estimate) -> dict[str, float | int]:
    return {"value": found.mean, "low": found.low, "high": found.high, "n": found.n}


def _count(choice: Choice) -> str:
    count = sum(score.kind != "base" for score in choice.scores)
    return f"{count} candidate{'s' * (count != 1)}"
