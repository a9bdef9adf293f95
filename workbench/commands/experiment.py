"""`experiment`: one recipe trained in several variants, and what each came to."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.progress import EventView, StageBar, follow
from workbench.commands.terminal import Overrides, say, table
from workbench.commands.training import load_recipe, show_advice

if TYPE_CHECKING:
    from workbench.evaluation.experiment import Outcome, Variant
    from workbench.evaluation.experiment_course import Course
    from workbench.evaluation.likeness import Likeness
    from workbench.recipe import Recipe
    from workbench.training.run import Run


def experiment(
    name: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="noises, optimizers, prior, did-not-update, or a recipe with --vary.",
        ),
    ],
    settings: Overrides = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,...", help="values to try; several are combined."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="optimizer steps of each variant; the recipe's by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for the runs and the page.")] = Path(
        "experiment"
    ),
    tiny: Annotated[
        bool, typer.Option("--tiny", help="prior: a few steps, to see that it works.")
    ] = False,
) -> None:
    """Train a recipe in several variants and compare them: numbers, and pictures side by side.

    A variant that has finished in the folder is not trained again; one that was cut off goes on.
    """
    from workbench.evaluation import experiment as experiments
    from workbench.evaluation import experiment_page, priors
    from workbench.evaluation.experiment_course import course
    from workbench.evaluation.likeness import likeness_of
    from workbench.settings import SettingsError

    if name == priors.NAME and not vary:
        length = [] if steps is None else [f"length.steps={steps}"]
        _priors([*(settings or []), *length], out, tiny=tiny)
        return
    if tiny:
        raise SettingsError(f"--tiny is for `experiment prior`; for {name}, --steps gives fewer")
    chosen = _variants(name, settings or [], vary or [], steps, out)
    for number, variant in enumerate(chosen, 1):
        _train(variant, out / variant.name, f"{number} of {len(chosen)}")
    likeness = likeness_of(chosen[0].recipe)
    outcomes = [_measured(variant, chosen[0], out, likeness) for variant in chosen]
    known = experiments.references(outcomes[0], recipe=chosen[0].recipe, likeness=likeness)
    _show(outcomes, known)
    title = name if name in experiments.READY else f"{Path(name).stem} {' '.join(vary or [])}"
    courses = [course(out / variant.name) for variant in chosen]
    _show_courses(courses, whole=name == "did-not-update")
    path = experiment_page.write(
        outcomes, known, out / "experiment.html", name=title, courses=courses
    )
    say(str(path))


def _variants(
    name: str, settings: Sequence[str], vary: Sequence[str], steps: int | None, out: Path
) -> "list[Variant]":
    from workbench import base_change
    from workbench.evaluation import experiment as experiments
    from workbench.settings import SettingsError

    if name in experiments.READY:
        if vary:
            raise SettingsError(f"{name} brings its variants; leave --vary out, or name a recipe")
        recipe, changes = experiments.ready(name)
    elif vary:
        recipe, changes = load_recipe(name, None), experiments.vary(vary)
    else:
        raise SettingsError(
            f"nothing to compare: give --vary with {name}, for example "
            f"--vary noise.kind=gaussian,offset; or choose {', '.join(experiments.READY)} or prior"
        )
    length = [] if steps is None else [f"length.steps={steps}"]
    said: set[str] = set()

    def override(recipe: "Recipe", assignments: Sequence[str]) -> "Recipe":
        changed, followed = base_change.override(recipe, assignments)
        show_advice([one for one in followed if one.line not in said])
        said.update(one.line for one in followed)
        return changed

    given = [*settings, *length]
    return experiments.variants(recipe, changes, overrides=given, out=out, override=override)


def _priors(settings: Sequence[str], out: Path, *, tiny: bool) -> None:
    """Train with each prior and without, measure each run once it is trained, and tell."""
    from workbench import store
    from workbench.evaluation import prior_table, priors
    from workbench.training.prior import make_prior

    study = priors.TINY if tiny else priors.Study()
    recipe = priors.taught([*(priors.TINY_SETTINGS if tiny else ()), *settings])
    every = priors.runs(study, recipe, out)
    say(f"{len(every)} runs of {recipe.length.steps} steps or fewer; those done are not repeated.")
    with StageBar() as bar:
        for folder, drawn in priors.drawn_by_base(study, out).values():
            for done, total in make_prior(recipe, folder, drawn):
                bar.update("drawing the prior", done, total, unit="pictures")
    dataset = priors.common_pictures(recipe)
    found: dict[str, list[priors.Measured]] = {}
    made: list[prior_table.Row] = []
    for number, (cell, variant) in enumerate(every, 1):
        folder = out / variant.name
        _train(variant, folder, f"{number} of {len(every)}")
        found.setdefault(cell.name, []).append(priors.measured(folder, study, dataset=dataset))
        made = prior_table.rows(found)
        store.write_text(out / "prior.md", prior_table.as_markdown(made))
    table(prior_table.HEAD, map(prior_table.line, made))
    say("with trigger, without: likeness above the base's. leak: share that is there uncalled.")
    say(str(out / "prior.md"))


def _train(variant: "Variant", folder: Path, number: str) -> None:
    """Train a variant, go on with it, or leave it where it has finished."""
    from workbench.records import history

    if (folder / "recipe.toml").exists():
        _require_same(variant, folder)
        if history.state(folder) == "finished":
            say(f"{variant.name} ({number}): trained already, {folder}")
            return
    say(f"{variant.name} ({number})", style="bold")
    run = _run(variant, folder)
    with StageBar() as bar:
        try:
            code = follow(run, EventView(bar))
        except FloatingPointError:
            code = 0  # it diverged, which the view has told: a result like any other
    if code in (130, 143):
        say("Stopped. The same command goes on from here.")
    if code:
        raise typer.Exit(code)


def _run(variant: "Variant", folder: Path) -> "Run":
    """A new run, or the one that lies there, from its newest checkpoint."""
    import workbench as wb

    if any((folder / "checkpoints").glob("step-*")):
        return wb.resume(folder)
    if (folder / "recipe.toml").exists():  # cut off before its first checkpoint: nothing was kept
        shutil.rmtree(folder)
    return wb.start(variant.recipe, folder=folder)


def _require_same(variant: "Variant", folder: Path) -> None:
    """Refuse to compare what an older experiment trained with what this one asks for."""
    from workbench.evaluation.experiment import differences
    from workbench.recipe import Recipe
    from workbench.settings import SettingsError

    lines = differences(Recipe.load(folder / "recipe.toml"), variant.recipe)
    if lines:
        shown = "\n  ".join(lines)
        raise SettingsError(
            f"{folder} was trained with other settings:\n  {shown}\nchoose another --out"
        )


def _measured(
    variant: "Variant", first: "Variant", out: Path, likeness: "Likeness | None"
) -> "Outcome":
    from workbench.evaluation import experiment as experiments

    return experiments.measure(
        out / variant.name,
        likeness=likeness,
        differs=experiments.differences(first.recipe, variant.recipe),
    )


def _show_courses(courses: "Sequence[Course]", *, whole: bool) -> None:
    """What the diagnosis says of each variant, and how it got there where that is the point."""
    from workbench.evaluation.experiment_course import COLUMNS

    for one in courses:
        if whole:
            say(one.name, style="bold")
            table(COLUMNS, [tuple(point.cells) for point in one.points])
        for name, sentence in one.faults:
            say(f"{one.name}: {name}: {sentence}")
        if whole and not one.faults:
            say(f"{one.name}: the diagnosis finds nothing wrong")


def _show(outcomes: "Sequence[Outcome]", known: "Sequence[Outcome]") -> None:
    from workbench.evaluation.apart import sentence
    from workbench.evaluation.experiment import COLUMNS, cells

    table(("variant", *COLUMNS), [(one.name, *cells(one)) for one in (*outcomes, *known)])
    say("gap, held out: stable loss against the base. drift: of colours (* certain), likewise.")
    say("dark, light: percentiles 1 and 99 of lightness. alike: to the training pictures.")
    if compared := sentence(outcomes):
        say(compared)
    for one in outcomes:
        if one.state != "finished":
            say(f"{one.name}: {one.state}", style="yellow")
