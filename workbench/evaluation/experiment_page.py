"""The page of an experiment: one table, and every prompt drawn by every variant."""

from collections.abc import Sequence
from pathlib import Path

from workbench import store
from workbench.evaluation import experiment_course, page
from workbench.evaluation.apart import sentence
from workbench.evaluation.experiment import COLUMNS, Outcome, cells
from workbench.evaluation.experiment_course import Course
from workbench.evaluation.results import Strip
from workbench.plots.still import figure_svg

MAX_SIDE_PX = 320


def write(
    outcomes: Sequence[Outcome],
    known: Sequence[Outcome],
    path: Path,
    *,
    name: str,
    courses: Sequence[Course] = (),
) -> Path:
    """Write the page, whole or not at all.

    Args:
        outcomes: of the variants.
        known: what they are compared with, see `experiment.references`.
        path: the .html file, beside the run folders.
        name: of the experiment.
        courses: how the variants got there.
    Returns:
        The path.
    """
    from markupsafe import Markup

    drawn = experiment_course.figures([path.parent / one.name for one in courses])
    text = page.template("experiment.html.j2").render(
        name=name,
        outcomes=outcomes,
        known=known,
        columns=COLUMNS,
        cells=cells,
        best=best(outcomes),
        compared=sentence(outcomes),
        strips=strips(outcomes),
        courses=courses,
        course_columns=experiment_course.COLUMNS,
        curves=[Markup(figure_svg(figure)) for figure in drawn.values()],
        css=Markup(page.asset("report.css")),
        uri=lambda image: page.data_uri(image, MAX_SIDE_PX),
    )
    return store.write_text(path, text)


def strips(outcomes: Sequence[Outcome]) -> list[Strip]:
    """Put what the base and all variants drew of one prompt and seed side by side.

    Args:
        outcomes: of the variants.
    Returns:
        One strip a prompt and seed, in the order of the prompts.
    """
    every = {job: picture for one in outcomes for job, picture in one.pictures.items()}
    found = []
    for prompt, seed in dict.fromkeys((prompt, seed) for prompt, seed, _ in every):
        base = every.get((prompt, seed, 0.0))
        shown = [("base", base)] if base is not None else []
        job = (prompt, seed, 1.0)
        shown += [(one.name, one.pictures[job]) for one in outcomes if job in one.pictures]
        found.append(Strip(prompt, seed, tuple(shown)))
    return found


def best(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Find who leads in what has a better end.

    Args:
        outcomes: of the variants.
    Returns:
        Column to variant name: the lowest gaps and drift, the highest likeness.
    """
    keys = {
        "gap": lambda one: one.train_gap,
        "held out": lambda one: one.held_out_gap,
        "drift": lambda one: one.colour_drift,
        "alike": lambda one: None if one.likeness is None else -one.likeness,
    }
    leaders = {}
    for column, key in keys.items():
        measured = [one for one in outcomes if key(one) is not None]
        if len(measured) > 1:
            leaders[column] = min(measured, key=key).name
    return leaders
