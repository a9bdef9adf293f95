"""A verdict as figures, and as JSON and CSV beside the report, for those who count on."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench import store
from workbench.plots.intervals import Bar, intervals, leak_by_place
from workbench.records.judgement import ASKED, Answer, Interval, Judgement, Question

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from workbench.evaluation.results import DriftRow

COLUMNS = (
    "question", "reply", "word", "measure", "value", "low", "high", "limit", "n", "unit",
    "pictures_of_each", "p", "role", "note",
)  # fmt: skip


def figures(judgement: Judgement) -> dict[str, "Figure"]:
    """Draw the answers with their intervals, one figure a scale.

    Args:
        judgement: on a run or on two folders.
    Returns:
        Name to figure; what was not measured has none.
    """
    found: dict[str, Figure] = {}
    questions: tuple[Question, ...] = ("look like", "follow", "diversity")
    judged = [judgement.answer(question) for question in questions]
    bars = [one for answer in judged for one in answer.intervals if math.isfinite(one.value)]
    if bars:
        found["likeness, prompt, diversity"] = intervals(
            [_bar(one) for one in bars],
            title="Likeness, prompt following, diversity",
            x="change of the cosine against the base",
            margin=next((one.limit for one in bars if one.limit), None),
        )
    single: tuple[tuple[Question, str, str], ...] = (
        ("colours", "Colours", "change of the mean colour, L*a*b*"),
        ("learn", "Stable loss", "change against the base, as a share"),
        ("leak", "Leak and reach in the model", "share; likeness as a change"),
    )
    for question, title, label in single:
        answer = judgement.answer(question)
        if any(math.isfinite(one.value) for one in answer.intervals):
            limit = answer.intervals[0].limit
            found[question] = intervals(
                [_bar(one) for one in answer.intervals],
                title=title,
                x=label,
                margin=None if question == "leak" else limit,
                threshold=limit if question == "leak" else None,
            )
    if judgement.leak is not None and judgement.leak.places:
        places = [(of, low, high, leak, other) for of, low, high, _, leak, other in
                  judgement.leak.places]  # fmt: skip
        found["leak by place"] = leak_by_place(places)
    return found


def _bar(one: Interval) -> Bar:
    return Bar(one.name, one.value, one.low, one.high)


def write_beside(
    page: Path,
    judgement: Judgement | None,
    drift: "Sequence[DriftRow]" = (),
    *,
    origins: Mapping[str, str] | None = None,
) -> tuple[Path, Path]:
    """Write what a report says as data: `report.json` and `report.csv` beside `report.html`.

    Args:
        page: the report.
        judgement: the six answers.
        drift: exploratory rows.
        origins: what it was made of, see `evaluation.origins`.
    Returns:
        The JSON file, the CSV file.
    """
    exploratory = [
        {
            "name": row.name, "base": row.base, "change": row.change, "low": row.low,
            "high": row.high, "values": row.values, "reading": row.reading,
        }
        for row in drift
    ]  # fmt: skip
    told = None if judgement is None else json.loads(judgement.model_dump_json())
    data = {"judgement": told, "exploratory": exploratory, "origins": dict(origins or {})}
    rows = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(rows, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_lines(judgement, drift))
    return (
        store.write_json(page.with_suffix(".json"), data),
        store.write_text(page.with_suffix(".csv"), rows.getvalue()),
    )


def _lines(judgement: Judgement | None, drift: "Sequence[DriftRow]") -> Iterator[dict[str, object]]:
    """Rows of the CSV: each interval of each answer, then the exploratory ones."""
    for answer in judgement.answers if judgement else ():
        own = {
            "question": answer.question, "reply": answer.reply, "word": answer.word,
            "n": answer.n, "unit": answer.unit, "pictures_of_each": answer.seeds,
            "p": answer.p, "note": answer.note,
        }  # fmt: skip
        for place, one in enumerate(answer.intervals or (None,)):
            numbers = {} if one is None else one.model_dump(exclude={"name", "values"})
            role = "confirmatory" if place < _deciding(answer) else "beside it"
            yield own | {"measure": one.name if one else "", "role": role} | numbers
    for row in drift:
        yield {
            "measure": row.name, "value": row.change, "low": row.low, "high": row.high,
            "n": len(row.values), "unit": "prompts", "pictures_of_each": row.seeds,
            "role": "exploratory", "note": row.reading,
        }  # fmt: skip


def _deciding(answer: Answer) -> int:
    return 3 if answer.question == "colours" else 1


def said(answer: Answer) -> str:
    """An answer's number with its interval and what it rests on, in a line.

    Args:
        answer: to one question.
    Returns:
        For example "+0.182 (+0.120 to +0.244), 8 prompts x 4"; "" where nothing was measured.
    """
    if not answer.intervals:
        return ""
    if answer.question == "colours":
        numbers = ", ".join(
            f"{one.name[:2]} {one.value:+.1f} ({one.low:+.1f} to {one.high:+.1f})"
            for one in answer.intervals
        )
    else:
        one = answer.intervals[0]
        form = "{:+.1%}" if answer.question == "learn" else "{:+.3f}"
        if answer.question == "leak":
            form = "{:.2f}"
        numbers = f"{form.format(one.value)} ({form.format(one.low)} to {form.format(one.high)})"
    each = f" x {answer.seeds:g}" if answer.unit == "prompts" and answer.seeds > 1 else ""
    return f"{numbers}, {answer.n} {answer.unit}{each}"


def asked(answer: Answer) -> str:
    """The question in full.

    Args:
        answer: to it.
    Returns:
        A sentence with a question mark.
    """
    return ASKED[answer.question]
