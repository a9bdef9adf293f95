"""`noise`: draw, measure and show the noises that a recipe can train with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.terminal import Overrides, say, table

if TYPE_CHECKING:
    from workbench.diffusion.noise import Noise


def noise(
    settings: Overrides = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="show this one of the known noises.")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for the page and the pictures.")] = Path(
        "noise"
    ),
    base: Annotated[
        str, typer.Option(help="base model whose autoencoder shows a picture under the noise.")
    ] = "critters",
    pictures: Annotated[
        bool, typer.Option(help="load the base model and show a picture under each noise.")
    ] = True,
) -> None:
    """Measure noises and draw them: fields, spectra, correlations, a picture under them.

    Settings are those of `noise` in a recipe, for example kind=perlin octaves=4; without any, all
    that were published are shown, with the numbers of the published code beside ours.
    """
    chosen = _chosen(settings or [], only or [])
    from workbench.evaluation import noise as studying
    from workbench.evaluation import noise_page

    scene = studying.open_scene(base) if pictures else None
    studies = [studying.study(name, one, scene=scene) for name, one in chosen.items()]
    rows = []
    for one in studies:
        rows.append((one.name, *noise_page.ours(one)))
        if known := noise_page.published(one):
            rows.append(("  published", *known))
    table(("noise", *noise_page.COLUMNS), rows)
    say(
        "Power against white noise's 1, of the mean and at k cycles a picture of 64 pixels; "
        "variance of a picture's mean; correlation of pixels 1 and 8 apart."
    )
    for path in noise_page.write(studies, out):
        say(str(path))


def _chosen(settings: list[str], only: list[str]) -> "dict[str, Noise]":
    from workbench.diffusion.noise import Gaussian, Noise
    from workbench.evaluation.noise import everything
    from workbench.settings import Settings, SettingsError, override, setting

    class Chosen(Settings):
        noise: Noise = setting(Gaussian(), help="the noise")

    if settings:
        mine = override(Chosen(), [f"noise.{one.removeprefix('noise.')}" for one in settings]).noise
        return {mine.kind: mine}
    known = everything()
    if unknown := [name for name in only if name not in known]:
        raise SettingsError(f"--only must be one of {', '.join(known)}, got {unknown[0]!r}")
    return {name: known[name] for name in only} or known
