"""What became of the pictures: counts, what was set aside and why, notes."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.app.words import text

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

MAX_ROWS = 200  # of what was set aside; a folder of thousands has a common cause


def facts(dataset: "Dataset", *, seed: int) -> tuple[str, str, int]:
    """Describe a dataset.

    Args:
        dataset: the recipe's.
        seed: of the run, which decides what is held out.
    Returns:
        Its numbers, and what there is to know besides, as HTML; and how many such remarks.
    """
    pairs = [(text(f"data_fact_{name}"), value) for name, value in _numbers(dataset, seed)]
    numbers = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in pairs
    )
    return (
        f'<dl class="facts">{numbers}</dl>',
        _notes(dataset.notes) + _set_aside(dataset),
        len(dataset.notes) + len(dataset.set_aside),
    )


def _numbers(dataset: "Dataset", seed: int) -> list[tuple[str, str]]:
    from workbench.data.dataset import split

    _, held = split(dataset, dataset.settings.holdout, seed=seed)
    rows = [
        ("pictures", f"{len(dataset):,}"),
        ("epoch", f"{sum(dataset.repeats):,}"),
        ("held", f"{len(held):,}"),
    ]
    if dataset.priors:
        rows.append(("prior", f"{len(dataset.priors):,}"))
    if not dataset.is_drawn:  # all pictures of a drawn world have captions
        rows.append(("captions", f"{sum(bool(x.caption.strip()) for x in dataset.records):,}"))
    if masks := [mask for mask in dataset.masks if mask is not None]:
        share = sum(mask.coverage for mask in masks) / len(masks)
        said = "data_masked" if dataset.settings.inpainting is None else "data_filled"
        rows.append(("masks", text(said, count=f"{len(masks):,}", share=f"{share:.0%}")))
    rows.append(("aside", f"{len(dataset.set_aside):,}"))
    return rows


def _notes(notes: Sequence[str]) -> str:
    lines = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{lines}</ul>' if lines else ""


def _set_aside(dataset: "Dataset") -> str:
    from workbench.data.sources import shown

    aside = dataset.set_aside
    if not aside:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(shown(one.name))}</td><td>{html.escape(one.reason)}</td></tr>"
        for one in aside[:MAX_ROWS]
    )
    more = len(aside) - MAX_ROWS
    rest = f"<p>{html.escape(text('data_aside_more', count=f'{more:,}'))}</p>" if more > 0 else ""
    head = "".join(f"<th>{html.escape(text(f'data_aside_{x}'))}</th>" for x in ("file", "reason"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<div class="table">{table}{rest}</div>'
