"""What a cell ends in: labelled pictures, tables, figures; as text where there is no page."""

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from workbench.evaluation.compare import drawn_pictures
from workbench.evaluation.page import data_uri
from workbench.evaluation.results import Pair

# Pairs of label and picture where labels repeat.
Labelled = Mapping[str, Image.Image] | Sequence[tuple[str, Image.Image]]
MAX_ACROSS = 8  # pictures beside each other; what is above that goes on below, in every row alike
_CAPTION = "font-size:12px;opacity:.75;overflow-wrap:anywhere"
_CELL = "text-align:left;padding:3px 14px 3px 0;vertical-align:top"


class Shown:
    """Something for the eye: HTML in a notebook, text anywhere else.

    Args:
        markup: HTML; whatever users wrote is escaped in it already.
        text: the same in words.
        pictures: label and picture of each, where it is a gallery and nothing else.
    """

    def __init__(self, markup: str, text: str, *, pictures: Sequence[tuple[str, Image.Image]] = ()):
        self.markup, self.text, self.pictures = markup, text, pictures

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self.text


def gallery(pictures: Labelled, *, width_px: int = 144) -> Shown:
    """Lay labelled pictures side by side.

    Args:
        pictures: label to picture.
        width_px: of each picture on the page.
    Returns:
        The gallery, as a cell shows it.
    """
    return grid({"": pictures}, width_px=width_px)


def grid(rows: Mapping[str, Labelled], *, width_px: int = 144) -> Shown:
    """Lay labelled pictures out in rows that have names.

    Args:
        rows: name of the row to its pictures.
        width_px: of each picture on the page.
    Returns:
        The grid, as a cell shows it.
    """
    cells = {
        name: list(row.items() if isinstance(row, Mapping) else row) for name, row in rows.items()
    }
    across = max((len(row) for row in cells.values()), default=0)
    blocks = []
    for start in range(0, across, MAX_ACROSS):
        width = min(MAX_ACROSS, across - start)
        for name, row in cells.items():
            part = row[start : start + MAX_ACROSS]
            blocks.append(_line(name, part, columns=width, width_px=width_px))
    said = [
        f"{name}: " * bool(name) + ", ".join(label for label, _ in row)
        for name, row in cells.items()
    ]
    alone = cells[""] if list(cells) == [""] else ()
    return Shown("".join(blocks), "\n".join(said), pictures=alone)


def pairs(found: Iterable[Pair], *, width_px: int = 144) -> Shown:
    """Lay the base's pictures above those of what was trained, prompt by prompt.

    Args:
        found: of a comparison.
        width_px: of each picture on the page.
    Returns:
        Two rows.
    """
    every = list(found)
    base = [(one.prompt, one.base) for one in every]
    trained = [(one.prompt, one.trained) for one in every]
    return grid({"base": base, "trained": trained}, width_px=width_px)


def samples(
    folder: str | Path, *, base: bool = False, seed: int | None = None
) -> list[tuple[str, Image.Image]]:
    """Load what a run drew of its sample prompts at its end, or what its base drew of them.

    Args:
        folder: the run folder.
        base: the base's pictures instead.
        seed: of the pictures; None takes those of all seeds.
    Returns:
        Pairs of prompt and picture, prompt by prompt.
    """
    wanted = 0.0 if base else 1.0
    found = drawn_pictures(Path(folder)).items()
    return [
        (prompt, picture)
        for (prompt, own, strength), picture in found
        if strength == wanted and seed in (None, own)
    ]


def table(rows: Mapping[str, Mapping[str, Any]], *, heading: str = "") -> Shown:
    """Lay numbers and words out in rows and columns.

    Args:
        rows: row to column to value; columns come in the order in which they first appear. Floats
            are shown with three digits, None as an empty cell.
        heading: above the names of the rows.
    Returns:
        The table, as a cell shows it.
    """
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [
        [heading, *columns],
        *([name, *(_said(row.get(column)) for column in columns)] for name, row in rows.items()),
    ]
    widths = [max(len(line[k]) for line in lines) for k in range(len(columns) + 1)]
    filled = [line for line in lines if any(line)]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in filled
    )
    body = "".join(_row(line, head=line is lines[0]) for line in filled)
    return Shown(f'<table style="border-collapse:collapse;margin:4px 0">{body}</table>', text)


def show(*things: Any) -> None:
    """Show several figures, galleries, tables or sentences in one cell, one below the other.

    Args:
        things: whatever a cell can show; a text becomes a paragraph.
    """
    from IPython.display import display

    for thing in things:
        if isinstance(thing, Image.Image):
            thing = gallery({"": thing}, width_px=thing.width)
        elif isinstance(thing, str):
            thing = Shown(f"<p>{html.escape(thing)}</p>", thing)
        display(thing)


def _line(name: str, row: Sequence[tuple[str, Image.Image]], *, columns: int, width_px: int) -> str:
    """One row; it shrinks where a page is narrow and never breaks, so that columns stay columns."""
    body = "".join(_figure(label, image, width_px) for label, image in row)
    head = f'<div style="font-weight:600;margin:10px 0 4px">{html.escape(name)}</div>'
    places = f"repeat({columns},minmax(0,{width_px}px))"
    flow = f'<div style="display:grid;grid-template-columns:{places};gap:10px">'
    return (head if name else "") + f"{flow}{body}</div>"


def _figure(label: str, image: Image.Image, width_px: int) -> str:
    # A panorama keeps the width, a tall picture fills no whole screen.
    size = f"width:100%;max-height:{1.5 * width_px:.0f}px;object-fit:contain"
    picture = f'<img src="{data_uri(image)}" alt="{html.escape(label)}" style="{size}">'
    caption = f'<figcaption style="{_CAPTION}">{html.escape(label)}</figcaption>'
    return f'<figure style="margin:0;width:100%;max-width:{width_px}px">{picture}{caption}</figure>'


def _row(line: Sequence[str], *, head: bool) -> str:
    first, *rest = (html.escape(cell).replace("\n", "<br>") for cell in line)
    kind = "th" if head else "td"
    cells = "".join(f'<{kind} style="{_CELL}">{cell}</{kind}>' for cell in rest)
    return f'<tr><th style="{_CELL};font-weight:600">{first}</th>{cells}</tr>'


def _said(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
