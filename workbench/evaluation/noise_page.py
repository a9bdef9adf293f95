"""How noises are shown: a contact sheet each, one of all, and a page to point at."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from workbench import store
from workbench.diffusion import spectra
from workbench.evaluation import page
from workbench.evaluation.noise import Study
from workbench.plots import noise as plots
from workbench.plots import sheets

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLUMNS = (
    *("mean", "k=1", "k=4", "k=16", "k=31"),
    *("var", "lag 1", "lag 8"),
)
# Line up to six colours in three dashes, beyond which nobody tells curves apart.
MAX_CURVES = 18


def write(studies: Sequence[Study], folder: Path) -> list[Path]:
    """Write the page, every noise's sheet, and one of all.

    Args:
        studies: what to show.
        folder: made if absent.
    Returns:
        The files, the page last.
    """
    sheets_of = {one.name: sheet(one) for one in studies}
    pictures = {"overview": overview(studies)} if len(studies) > 1 else {}
    paths = [
        store.write_bytes(folder / f"{name}.png", _png(image))
        for name, image in (pictures | sheets_of).items()
    ]
    return [*paths, store.write_text(folder / "noise.html", render(studies, sheets_of))]


def render(studies: Sequence[Study], sheets_of: Mapping[str, Image.Image]) -> str:
    """Make the page.

    Args:
        studies: what to show.
        sheets_of: name to sheet.
    Returns:
        HTML that needs nothing beside itself; figures are drawn when they come to be seen.
    """
    from markupsafe import Markup

    drawn = {f"all-{key}": figure for key, figure in comparison(studies[:MAX_CURVES]).items()}
    for number, one in enumerate(studies):
        drawn |= {f"{number}-{key}": figure for key, figure in figures(one).items()}
    text = ",".join(f'"{key}":{figure.to_json()}' for key, figure in drawn.items())
    return page.template("noise.html.j2").render(
        studies=studies,
        columns=COLUMNS,
        ours=ours,
        published=published,
        sheet=lambda one: page.data_uri(sheets_of[one.name], max_side_px=1280),
        keys=list(drawn),
        css=Markup(page.asset("report.css")),
        js=Markup(page.asset("noise.js")),
        figures=Markup("{" + page.inside_script(text) + "}"),
        plotly=Markup(page.packed_plotly()),
    )


def sheet(one: Study) -> Image.Image:
    """Put all that is to see of a noise on one sheet.

    Args:
        one: its study.
    Returns:
        RGB picture.
    """
    limits, colours = (-plots.FIELD_LIMIT, plots.FIELD_LIMIT), plots.FIELD_COLOURS
    fields = [
        (f"field, channel {k}", sheets.paint(x, limits=limits, colours=colours))
        for k, x in enumerate(one.drawn[0].numpy())
    ]
    rows = [sheets.Row("", "", [*fields[:3], *panels(one)[1:], _curve(one)])]
    if one.pictures:
        shown = [(label, Image.fromarray(x)) for label, x in one.pictures.items()]
        rows.append(sheets.Row("", "", shown))
    return sheets.contact_sheet(rows, title=one.name, text=one.choice)


def overview(studies: Sequence[Study]) -> Image.Image:
    """Put one line for each noise on one sheet.

    Args:
        studies: from top to bottom.
    Returns:
        RGB picture.
    """
    rows = []
    for one in studies:
        labels = [label for k, label in enumerate(one.pictures) if k in (1, 3, 4)]
        shown = [(label, Image.fromarray(one.pictures[label])) for label in labels]
        rows.append(sheets.Row(one.name, one.choice, [*panels(one), _curve(one), *shown]))
    return sheets.contact_sheet(rows)


def figures(one: Study) -> dict[str, "Figure"]:
    """Draw a noise to point at.

    Args:
        one: its study.
    Returns:
        Name to plotly figure.
    """
    drawn = {
        "field": plots.field(one.drawn[0].numpy()),
        "power": plots.power_spectrum(one.power),
        "phase": plots.phase_spectrum(one.phase),
    }
    if one.pictures:
        drawn["pictures"] = plots.noised({one.name: one.pictures})
    return drawn


def comparison(studies: Sequence[Study]) -> dict[str, "Figure"]:
    """Draw noises over one another.

    Args:
        studies: what is compared.
    Returns:
        Name to plotly figure.
    """
    return {
        "radial": plots.radial_power(
            {one.name: one.radial for one in studies},
            published={one.name: one.rings for one in studies},
        ),
        "correlation": plots.autocorrelation({one.name: one.correlation for one in studies}),
        "values": plots.histogram({one.name: one.drawn[:16].numpy() for one in studies}),
        "numbers": plots.statistics({one.name: _numbers(one.summary) for one in studies}),
    }


def ours(one: Study) -> list[str]:
    """A noise's numbers for a table.

    Args:
        one: its study.
    Returns:
        One cell for each of `COLUMNS`.
    """
    return _shown(list(_numbers(one.summary).values()))


def published(one: Study) -> list[str]:
    """What a noise's published code was measured to give.

    Args:
        one: its study.
    Returns:
        One cell for each of `COLUMNS`; none where nothing was published.
    """
    if one.published is None:
        return []
    known = one.published
    return _shown([*known.powers, known.mean_variance, *known.correlations])


def panels(one: Study, *, side_px: int = sheets.PANEL_PX) -> list[tuple[str, Image.Image]]:
    """Paint a noise: its first field, how strong each frequency is, and the phases.

    Args:
        one: its study.
        side_px: of each picture.
    Returns:
        Caption and picture of each.
    """
    with np.errstate(divide="ignore"):
        decades = np.log10(np.fft.fftshift(one.power))
    limit = plots.FIELD_LIMIT
    painted = (
        ("field", one.drawn[0, 0].numpy(), (-limit, limit), plots.FIELD_COLOURS),
        ("log power", decades, plots.POWER_DECADES, plots.POWER_COLOURS),
        ("phase", np.fft.fftshift(one.phase), (-np.pi, np.pi), plots.PHASE_COLOURS),
    )
    return [
        (name, sheets.paint(values, limits=limits, colours=colours, side_px=side_px))
        for name, values, limits, colours in painted
    ]


def _curve(one: Study) -> tuple[str, Image.Image]:
    curve = sheets.curve(one.radial.tolist(), limits=plots.POWER_DECADES, points=one.rings)
    return "power by frequency" + (", rings: published" if one.rings else ""), curve


def _numbers(found: spectra.Summary) -> dict[str, float]:
    powers = (found.k0, found.k1, found.k4, found.k16, found.k31)
    others = (found.mean_variance, found.lag1, found.lag8)
    return dict(zip(COLUMNS, (*powers, *others), strict=True))


def _shown(numbers: list[float]) -> list[str]:
    """Two or three digits, and zero where nothing is left but chance or rounding."""
    *powers, variance, lag1, lag8 = numbers
    return [
        *("0" if x < 5e-4 else f"{x:.3g}" if x >= 1 else f"{x:.2g}" for x in powers),
        "0" if variance < 5e-8 else f"{variance:.1e}".replace("e-0", "e-"),
        *("0" if abs(x) < 1.5e-3 else f"{round(x, 3):.2g}" for x in (lag1, lag8)),
    ]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
