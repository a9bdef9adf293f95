"""`make-prior`: pictures of the class, drawn by the base, to be shown beside a concept's."""

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.progress import StageBar
from workbench.commands.terminal import Overrides, say
from workbench.commands.training import RecipeName, load_recipe


def make_prior(
    recipe: RecipeName,
    settings: Overrides = None,
    out: Annotated[
        Path, typer.Option(help="folder for pictures and captions; a set begun there goes on.")
    ] = Path("prior"),
    count: Annotated[int, typer.Option(help="pictures.")] = 200,
    seed: Annotated[int, typer.Option(help="of the prompts and of the first picture.")] = 0,
    prompts: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="captions (the concept's, without trigger), tags (drawn from theirs) or class.",
        ),
    ] = "captions",
) -> None:
    """Let the base draw ordinary pictures of the class, which keep it as it is beside a concept.

    Settings are those of the recipe, for example sampling.steps=30 sampling.batch_size=4.
    """
    import json

    import torch

    from workbench.settings import from_dict
    from workbench.training import prior

    chosen = from_dict(
        prior.PriorSettings, {"count": count, "seed": seed, "prompts": prompts}, source="make-prior"
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_recipe(recipe, settings)
    with StageBar() as bar:
        for done, total in prior.make_prior(loaded, out, chosen, device=device):
            bar.update("drawing the prior", done, total, unit="pictures")
    say(f"{out} holds {count} pictures with their prompts as captions. Put into the recipe:")
    say(f"\n[[data.subsets]]\npath = {json.dumps(str(out), ensure_ascii=False)}\nis_prior = true\n")
    say("`workbench buckets` and the run's start say how prior and concept balance.")
