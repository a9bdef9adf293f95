"""`new`, `check`, `train` and `resume`: from a recipe to a run."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.datasets import show_left_out
from workbench.commands.notice import Notice, NoticeCommand, NoticeFile
from workbench.commands.progress import EventView, StageBar, follow
from workbench.commands.terminal import Overrides, say

if TYPE_CHECKING:
    from workbench.checks import Finding
    from workbench.data.dataset import Dataset
    from workbench.recipe import Recipe
    from workbench.settings.advice import Advice
    from workbench.training.run import Run

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="a .toml file, or a preset.")]
MOST_SET_ASIDE = 20  # files that `check` names one by one
SEVERITY_STYLES = {"refuse": "bold red", "warn": "yellow", "note": None}


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the run and of its files.")],
    data: Annotated[str, typer.Option(help="folder or zip of images.")],
    base: Annotated[
        str | None,
        typer.Option(
            help="the model to start from: hub id, folder, .safetensors, or critters; the preset's."
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="recipe to start from; chosen after the base.")
    ] = None,
    trigger: Annotated[
        str | None, typer.Option(help="the word that will call the concept.")
    ] = None,
    intent: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="INTENT", help="what it is to be: character, style, object or scene."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="file to write; NAME.toml by default.")] = None,
    settings: Overrides = None,
) -> None:
    """Write a recipe in which every setting is explained."""
    from workbench import base_change, intents, store
    from workbench.settings import SettingsError
    from workbench.settings.advice import follow, kept

    path = out or Path(f"{name}.toml")
    if path.exists():
        raise SettingsError(f"{path} exists; give another name, or --out")
    given = [*_quoted(name=name, base=base, data=data, trigger=trigger), *(settings or [])]
    recipe, suited = _on_base(preset, base, given)
    meant = intents.advise(intent, recipe) if intent is not None else ()
    recipe = follow(base_change.free(meant, given), recipe)
    suited, meant = kept(suited, recipe), kept(meant, recipe)
    notes = {one.setting: f"For this base: {one.reason}" for one in suited}
    notes |= {one.setting: f"For a {intent}: {one.reason}" for one in meant}
    store.write_text(path, recipe.to_toml(notes=notes))
    show_advice((*suited, *meant))
    if not data.startswith("critters:") and not Path(data).expanduser().exists():
        say(f"{data} does not exist yet", style="yellow")
    say(f"Wrote {path}. Read it, change it, then: workbench train {path}")


def check(
    recipe: RecipeName,
    settings: Overrides = None,
    batches: Annotated[
        int | None, typer.Option(min=1, help="show the first batches, as the run will see them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="page of --batches; NAME-batches.html.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="do one step, samples and a save, and say what it takes."),
    ] = False,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="of this machine; --measure then says the cost.")
    ] = None,
) -> None:
    """Read a recipe's settings and pictures and name their pitfalls, without training.

    Of a U-Net from nothing it also says what that will take: weights, memory, time, disk.
    """
    from workbench import checks
    from workbench.commands.plan import show_plan

    chosen = load_recipe(recipe, settings)
    dataset = _pictures(chosen)
    findings = checks.check(chosen, dataset=dataset)
    if dataset is not None:
        show_left_out(dataset, most=MOST_SET_ASIDE, doubts=False)  # the findings say those
    show_findings(findings, pictures=dataset is not None)
    show_plan(chosen)
    if any(finding.stops for finding in findings):
        raise typer.Exit(2)
    if measure or price_per_hour is not None:
        from workbench.commands.preflight import show_preflight

        show_preflight(chosen, price_per_hour)
    if batches is not None:
        from workbench.commands.preview import show_batches

        show_batches(chosen, batches, out)


def train(
    recipe: RecipeName,
    settings: Overrides = None,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="the run folder; a new one in output.folder by default."),
    ] = None,
    notice_file: NoticeFile = None,
    notice_command: NoticeCommand = None,
) -> None:
    """Train a recipe; the run folder holds all that comes of it."""
    import workbench as wb

    notice = Notice(notice_file, notice_command)
    watch(wb.start(load_recipe(recipe, settings), folder=folder), notice)


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder.")],
    settings: Overrides = None,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="go on although images or settings differ."),
    ] = False,
    notice_file: NoticeFile = None,
    notice_command: NoticeCommand = None,
) -> None:
    """Go on with a run that was stopped, or train a finished one longer: length.steps=+500."""
    import workbench as wb

    notice = Notice(notice_file, notice_command)
    watch(wb.resume(run, settings or [], accept=accept_changes), notice)


def _pictures(recipe: "Recipe") -> "Dataset | None":
    """The recipe's pictures where all their sources are there; some rules need them."""
    from workbench.data.dataset import index
    from workbench.data.sources import shown, why_missing

    missing = [
        subset.path
        for subset in recipe.data.subsets
        if not subset.path.startswith("critters:") and not Path(subset.path).expanduser().exists()
    ]
    for path in missing:
        hint = why_missing(path)
        say(
            f"{shown(path)} does not exist yet: rules about pictures and captions are left out"
            + hint,
            style="yellow" if hint else None,
        )
    return None if missing or not recipe.data.subsets else index(recipe.data)


def load_recipe(name: str, settings: list[str] | None) -> "Recipe":
    """Find the recipe that the user names; where its base is changed, say what follows from it.

    Args:
        name: path of a TOML file, or the name of a preset.
        settings: `key=value` changes.
    Returns:
        The recipe.
    Raises:
        FileRefused: no such file or preset.
        SettingsError: a setting is wrong.
    """
    from workbench import base_change
    from workbench.recipe import Recipe, presets
    from workbench.settings import SettingsError

    # A bare name is a preset's, unless such a file lies here.
    is_file = Path(name).exists() or (name not in presets() and Path(name).suffix != "")
    if not is_file and name not in presets():
        raise SettingsError(
            f"RECIPE must be a .toml file or one of the presets {', '.join(presets())}; "
            f"there is no file {name!r}"
        )
    recipe, suited = (Recipe.load(name), ()) if is_file else base_change.preset(name)
    recipe, more = base_change.override(recipe, settings or [])
    show_advice((*suited, *more))
    return recipe


def show_advice(advice: "Sequence[Advice]") -> None:
    """Print settings that followed from something, a line each with its reason.

    Args:
        advice: that was followed.
    """
    for one in advice:
        say(f"{one.line}: {one.reason}")


def show_findings(findings: "list[Finding]", *, pictures: bool = True) -> None:
    """Print what the checks found, the worst first.

    Args:
        findings: of `checks.check`.
        pictures: whether pictures and captions were looked at too.
    """
    for finding in findings:
        rule = finding.rule
        allowed = " (allowed)" if finding.allowed else ""
        style = None if finding.allowed else SEVERITY_STYLES[rule.severity]
        say(f"{rule.severity}{allowed} [{rule.id}] {finding.reason}", style=style)
        say(f"  fix: {finding.fix}")
        if finding.stops and rule.allowable:
            say(f"  or run it all the same: checks.allow={rule.id}")
        say(f"  at {finding.setting}; source: {rule.source}")
    counts = Counter(finding.rule.severity for finding in findings)
    words = {"refuse": "refused", "warn": "warned of", "note": "noted"}
    said = ", ".join(f"{counts[name]} {word}" for name, word in words.items() if counts[name])
    none = "No pitfall found." if pictures else "No pitfall found in the settings alone."
    say(f"Pitfalls: {said}." if findings else none)


def watch(run: "Run", notice: Notice | None = None) -> None:
    """Train a run to its end, show its events, say where its results lie, and leave.

    Args:
        run: of `wb.start` or `wb.resume`.
        notice: how the machine says that it will be taken away.
    Raises:
        typer.Exit: unless the run came to its planned end.
    """
    say(f"Run {run.folder}")
    with StageBar() as bar:
        view = EventView(bar)
        code = follow(run, view, notice)
    if code in (130, 143):
        say(f"Stopped. Go on with: workbench resume {run.folder}")
    elif code == 0:
        if view.verdict:
            say(view.verdict)
        say(str(run.folder / view.report) if view.report else str(run.folder))
    raise typer.Exit(code)


def _on_base(
    preset: str | None, base: str | None, given: Sequence[str]
) -> "tuple[Recipe, tuple[Advice, ...]]":
    """A preset as `given` has it, and what follows from its base: nothing from the preset's own."""
    from workbench import base_change
    from workbench.models.defaults import Machine
    from workbench.models.loading import defaults
    from workbench.models.source import is_critters

    ours = preset is None and (base is None or is_critters(base))
    start, suited = base_change.preset(preset or ("critters" if ours else "sd15-lora"))
    recipe, changed = base_change.override(start, given)
    known = defaults(recipe.base, Machine.here())  # what cannot be trained ends here, by name
    if preset is not None or ours:
        return recipe, (*suited, *changed)
    if not known:
        say(f"What {base} is cannot be told from its name: settings are those of {start.name}")
    return recipe, base_change.follows(recipe)


def _quoted(*, name: str, base: str | None, data: str, trigger: str | None) -> list[str]:
    texts = {
        "name": name,
        "base.path": base,
        "data.subsets.0.path": data,
        "data.subsets.0.trigger": trigger,
    }
    return [f"{key}={_toml(text)}" for key, text in texts.items() if text is not None]


def _toml(text: str) -> str:
    """Text as a TOML string, so that a folder called `1e5` or `[a]` stays text."""
    import json

    return json.dumps(text, ensure_ascii=False)
