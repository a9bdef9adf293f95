"""`choose`: which checkpoint, at which strength, and what it is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.pictures import Base, Prompts, fetched_judge
from workbench.commands.progress import StageBar
from workbench.commands.terminal import say, table

if TYPE_CHECKING:
    from workbench.evaluation.choice import Choice
    from workbench.evaluation.choosing import Study
    from workbench.evaluation.statistics import Estimate


def choose(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN-OR-LORA...", help="run folders and LoRA files of one base; then settings."
        ),
    ],
    prompt: Prompts = None,
    strength: Annotated[
        list[float] | None, typer.Option(help="try each at this strength, too; 1 by default.")
    ] = None,
    describe: Annotated[
        str, typer.Option(help="the concept in words that the base knows; it is asked for them.")
    ] = "",
    judge: Annotated[
        str | None,
        typer.Option(help="a CLIP, SigLIP 2 or DINOv2: folder or id; critters have their own."),
    ] = None,
    base: Base = None,
    out: Annotated[
        Path | None, typer.Option(help="the page; choice.html in the run folder by default.")
    ] = None,
) -> None:
    """Choose among checkpoints, strengths, runs and files; confirm on other prompts and seeds.

    The last words may be settings: num_prompts, num_seeds, checkpoints, raw, in_model.
    """
    from workbench.evaluation import choice_page, choosing
    from workbench.settings import SettingsError, override

    words = [one for one in sources if "=" in one and not Path(one).exists()]
    paths = [Path(one) for one in sources if one not in words]
    if not paths:
        raise SettingsError("name at least one run folder or LoRA file to choose from")
    asked = choosing.ChooseSettings(
        prompts=tuple(prompt or ()), strengths=tuple(strength or (1.0,)), description=describe
    )
    judging = fetched_judge(judge)
    study = choosing.plan(paths, base=base, judge=judging, settings=override(asked, words))
    say(_cost(study))
    with StageBar() as bar:
        choice = choosing.carry_out(
            study, lambda stage, done, total: bar.update(stage, done, total, unit="pictures")
        )
    target = out or _beside(paths[0])
    _tell(choice)
    say(str(choice_page.write(choice, target, name=paths[0].stem)))


def _cost(study: "Study") -> str:
    prompts = " + ".join(str(len(half)) for half in study.prompts)
    return (
        f"{len(study.candidates)} candidates, {prompts} prompts, {len(study.seeds[0])} seeds each: "
        f"{study.num_pictures} pictures at most; those of an earlier study are not drawn again"
    )


def _tell(choice: "Choice") -> None:
    marks = {"chosen": "take this", "front": "a best trade-off", "other": "", "base": ""}
    rows = [
        (one.name, _shown(one.likeness), _shown(one.following), marks[one.kind])
        for one in choice.scores
    ]
    table(("candidate", "likeness", "prompt following", ""), rows)
    say(choice.recommendation, style="bold")


def _shown(found: "Estimate | None") -> str:
    if found is None:
        return "not measured"
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _beside(source: Path) -> Path:
    return source / "choice.html" if source.is_dir() else source.with_suffix(".choice.html")
