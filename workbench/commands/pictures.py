"""`sample`, `compare` and `verify`: pictures, the A/B report, and the reload proof."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.progress import StageBar
from workbench.commands.terminal import Overrides, complain, say, table

if TYPE_CHECKING:
    from workbench.evaluation.loading import Trained
    from workbench.models.family import Family

# What `compare` draws unless told otherwise: fewer prompts and seeds say too little.
STUDY = ("num_prompts=8", "num_seeds=4", "in_model=true")
RunOrLora = Annotated[
    Path, typer.Argument(metavar="RUN-OR-LORA", help="a run folder, or a LoRA's .safetensors.")
]
Base = Annotated[
    str | None, typer.Option(help="the base model, where it is not what the file says.")
]
Prompts = Annotated[
    list[str] | None, typer.Option("--prompt", "-p", help="what to draw; the run's own by default.")
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", "-s", help="one picture of each prompt from each.")
]

Judging = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="what judges pictures: the folder or Hugging Face id of a CLIP, SigLIP 2 or DINOv2; "
        "critters have their own.",
    ),
]
Images = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--images", metavar="A B", help="compare two folders of pictures, by name."),
]
Public = Annotated[
    bool,
    typer.Option(
        "--public",
        help="a report to show around, beside the usual one: no training pictures or captions, no "
        "paths, no names of files and people.",
    ),
]


def sample(
    trained: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN-OR-LORA]", help="without one, the base alone draws."),
    ] = None,
    settings: Overrides = None,
    prompt: Prompts = None,
    seed: Seeds = None,
    strength: Annotated[float, typer.Option(help="1 is as trained, 0 the base.")] = 1.0,
    base: Base = None,
    out: Annotated[Path, typer.Option(help="folder for the pictures.")] = Path("samples"),
) -> None:
    """Draw pictures. Settings are those of `sampling` in a recipe, for example steps=30."""
    from workbench.models import loading as models
    from workbench.models.base import BaseSettings
    from workbench.records.pictures import save_pictures
    from workbench.records.sampling import SampleSettings, stream
    from workbench.settings import SettingsError, override

    if trained is not None and "=" in str(trained) and not trained.exists():
        # The first word is a setting, and the base alone draws.
        trained, settings = None, [str(trained), *(settings or [])]
    if trained is None:
        chosen_base = BaseSettings(path=base or "critters")
        max_tokens = models.tokens_for(chosen_base, prompt or ())
        model = models.load(chosen_base, device=_device(), max_tokens=max_tokens)
        prompts, how, acting = (), SampleSettings(), nullcontext()
    else:
        opened = open_trained(trained, base, prompts=prompt or ())
        model, prompts, how = opened.family, opened.prompts, opened.sampling
        acting = opened.adapter.strength(strength)
    how = override(how, settings or [])
    chosen = tuple(prompt or prompts or how.prompts or ())
    seeds = tuple(seed or how.seeds)
    if not chosen:
        raise SettingsError('nothing to draw: give one or more --prompt "..."')
    _say_cut(model, chosen)
    pictures = []
    with acting, StageBar() as bar:
        for picture in stream(model, how, prompts=chosen, seeds=seeds):
            pictures.append(picture)
            bar.update("sampling", len(pictures), len(chosen) * len(seeds), unit="pictures")
    for path in save_pictures(pictures, out):
        say(str(path))


def compare(
    trained: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN-OR-LORA]", help="a run folder or a LoRA file; none with --images."
        ),
    ] = None,
    settings: Overrides = None,
    prompt: Prompts = None,
    seed: Seeds = None,
    base: Base = None,
    judge: Judging = None,
    images: Images = None,
    training: Annotated[
        Path | None, typer.Option(help="with --images: pictures of the concept, for likeness.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="the page; report.html beside the LoRA by default.")
    ] = None,
    public: Public = False,
) -> None:
    """Say whether a LoRA is better than its base: same prompts and seeds, six questions, a report.

    Further run folders put the runs side by side: equal prompts and seeds, recipes, curves.
    Eight prompts and four seeds are drawn unless others are given: fewer say too little. Settings
    are strengths, num_strips, leakage, in_model, num_prompts and num_seeds, such as num_seeds=2.
    """
    from workbench.settings import SettingsError, override

    if images:
        if trained is not None:
            raise SettingsError("--images compares two folders; leave out the run or LoRA")
        _compare_folders(images, judge, training=training, out=out, public=public)
        return
    if trained is None:
        raise SettingsError("give a run folder, a LoRA file, or --images FOLDER FOLDER")
    if runs := _further_runs(settings, judge):
        _compare_runs([trained, *runs], prompt, seed, base=base, out=out)
        return
    from workbench.evaluation import compare as comparing
    from workbench.evaluation.report import write_report

    judging = fetched_judge(judge)
    asked = comparing.CompareSettings(prompts=tuple(prompt or ()), seeds=tuple(seed or ()))
    chosen = override(asked, [*STUDY, *(settings or [])])
    with StageBar() as bar:
        comparison = comparing.compare(
            trained,
            base=base,
            settings=chosen,
            told=lambda done, total: bar.update("drawing", done, total, unit="pictures"),
        )
    page = write_report(
        trained, comparison=comparison, base=base, judge=judging, out=out, public=public
    )
    _tell(page)


def _tell(page: Path) -> None:
    """The verdict, its answers, and where the report lies."""
    from workbench import store
    from workbench.evaluation.tables import asked, said
    from workbench.records.judgement import Judgement

    told = store.read_json(page.with_suffix(".json"))["judgement"]
    if told is not None:
        judged = Judgement.model_validate(told)
        rows = [
            (asked(one), one.reply, said(one) or one.clause or one.note) for one in judged.answers
        ]
        table(("question", "answer", "number, interval, units"), rows)
        say(judged.verdict, style="bold")
    say(str(page))


def fetched_judge(name: str | None) -> Path | None:
    """Find a judge on this machine, or fetch it, and refuse what is none before anything else.

    Args:
        name: folder or Hugging Face id; None asks for none.
    Returns:
        Its folder.
    Raises:
        SettingsError: it cannot be used or fetched.
    """
    if name is None:
        return None
    from workbench.evaluation import judges
    from workbench.evaluation.features import at_hand

    here = judges.kept(name)
    if here is not None:
        at_hand("", judge=here)
        return here
    offer = judges.look_up(name)
    licence = offer.licence or "no licence stated"
    say(f"Fetching judge {offer.name}: {offer.num_bytes / 2**20:,.0f} MiB, {licence}")
    folder = judges.fetch(offer)
    say(f"  kept in {folder}")
    return folder


def _further_runs(words: Sequence[str] | None, judge: str | None) -> list[Path]:
    """What stands among the settings without an equals sign: runs, beside which none may stand."""
    from workbench.settings import SettingsError

    runs = [Path(one) for one in words or () if "=" not in one]
    wrong = [one for one in words or () if "=" in one] + (["--judge"] if judge else [])
    if runs and wrong:
        raise SettingsError(
            "runs side by side take --prompt, --seed, --base and --out, not " + ", ".join(wrong)
        )
    return runs


def _compare_runs(
    runs: Sequence[Path],
    prompts: Sequence[str] | None,
    seeds: Sequence[int] | None,
    *,
    base: str | None,
    out: Path | None,
) -> None:
    """Runs side by side, on a page beside their folders."""
    from workbench.evaluation import several_page
    from workbench.evaluation.several import compare_runs

    with StageBar() as bar:
        found = compare_runs(
            runs,
            prompts=prompts or (),
            seeds=seeds or (),
            base=base,
            told=lambda done, total: bar.update("drawing", done, total, unit="pictures"),
        )
    if found.differs:
        rows = [(path, *values) for path, values in found.differs.items()]
        table(("setting", *found.names), rows)
    else:
        say("Their recipes are the same but for the name.")
    page = out or runs[0].resolve().parent / f"compare-{'-'.join(found.names)}.html"
    say(str(several_page.write(found, page)))


def _compare_folders(
    images: tuple[Path, Path],
    judge: str | None,
    *,
    training: Path | None,
    out: Path | None,
    public: bool,
) -> None:
    from workbench.evaluation.folders import compare_folders

    page, _ = compare_folders(
        *images, judge=fetched_judge(judge), training=training, out=out, public=public
    )
    _tell(page)


def verify(trained: RunOrLora, base: Base = None) -> None:
    """Prove that a saved LoRA is what was trained: reload it and compare, rung by rung.

    A run's file is compared with its checkpoint, a file alone with the hashes it carries.
    """
    from workbench.evaluation import parity

    proof = parity.verify(trained, base=base)
    for row in proof.rows:
        style = "bold red" if not row.passed else "yellow" if row.warning else None
        say(f"{'ok' if row.passed else 'FAILED':<7}{row.name}: {row.explanation}", style=style)
    if proof.elsewhere:
        found = sorted(proof.elsewhere.items(), key=lambda x: -x[1])
        table(("layer", "off in ComfyUI"), [(name, f"{value:.1%}") for name, value in found])
    if not proof.passed:
        complain(f"{proof.path} is not what was trained")
        raise typer.Exit(1)
    say(f"{proof.path} is what was trained.")


def open_trained(path: Path, base: str | None, *, prompts: Sequence[str] = ()) -> "Trained":
    """Load what a run or a LoRA file holds, on its base.

    Args:
        path: a run folder or a .safetensors file.
        base: where the base lies, if not where the run or the file says.
        prompts: what is to be drawn; long ones are read whole.
    Returns:
        The model with its adapter on.
    """
    from workbench.evaluation import loading

    return loading.open_trained(path, base=base, prompts=prompts)


def _say_cut(family: "Family", prompts: Sequence[str]) -> None:
    """Name the prompts whose end is not read."""
    for prompt in prompts:
        limit, count = family.max_tokens, family.count_tokens(prompt)
        if limit is not None and count > limit:
            unread = family.windows(prompt)[-1]
            say(f"{count} tokens, {limit} are read; not read: {unread!r}", style="yellow")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
