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
    from workbench.records.sampling import SampleSettings, save_pictures, stream
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
    trained: RunOrLora,
    settings: Overrides = None,
    prompt: Prompts = None,
    seed: Seeds = None,
    base: Base = None,
    out: Annotated[
        Path | None, typer.Option(help="the page; report.html beside the LoRA by default.")
    ] = None,
) -> None:
    """Draw the same prompts and seeds with base and LoRA, and write the A/B report.

    Settings are strengths, num_strips and leakage, for example strengths=0,0.5,1.
    """
    from workbench.evaluation import compare as comparing
    from workbench.evaluation.report import write_report
    from workbench.settings import override

    chosen = comparing.CompareSettings(prompts=tuple(prompt or ()), seeds=tuple(seed or ()))
    comparison = comparing.compare(trained, base=base, settings=override(chosen, settings or []))
    say(str(write_report(trained, comparison=comparison, base=base, out=out)))


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
