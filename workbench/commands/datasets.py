"""`buckets`: what the trainer makes of the images of a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.terminal import Overrides, say, table

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

Folder = Annotated[
    str, typer.Argument(metavar="FOLDER", help="images and captions: a folder or a .zip.")
]


def buckets(
    folder: Folder,
    settings: Overrides = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the table for a spreadsheet.")
    ] = None,
) -> None:
    """Show every image's bucket, crop and scale, and what is set aside and why.

    Settings are those below `data` in a recipe, for example buckets.resolution=768.
    """
    from workbench import store
    from workbench.data.ledger import ledger
    from workbench.data.sources import shown

    dataset = read_folder(folder, settings or [])
    account = ledger(dataset)
    used = [row for row in account.rows() if row.bucket and row.crop]
    masked = any(row.mask is not None for row in used)
    table(
        ("image", "size", "scale", "bucket", "cut off", "repeats", *(("mask",) * masked)),
        [
            (
                shown(row.name),
                f"{row.width} x {row.height}",
                f"{row.scale:.2f}",
                _size(row.bucket or ()),
                f"{row.lost:.1%}",
                str(row.repeats),
                *(("whole" if row.mask is None else f"{row.mask:.0%}",) * masked),
            )
            for row in used
        ],
    )
    for bucket in account.buckets:
        say(f"{_size(bucket.bucket)}: {_images(bucket.num_images)}")
    show_left_out(dataset)
    if csv:
        say(str(store.write_text(csv, account.to_csv())))


def read_folder(folder: str, settings: list[str]) -> "Dataset":
    """Find the images and captions of a folder or zip.

    Args:
        folder: as the user gave it.
        settings: `key=value` changes of what stands below `data` in a recipe.
    Returns:
        The dataset.
    Raises:
        SettingsError: no such folder, or a setting is wrong.
    """
    from workbench.data.dataset import DataSettings, index
    from workbench.data.subsets import Subset
    from workbench.settings import override

    return index(override(DataSettings(subsets=(Subset(path=folder),)), settings))


def _size(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))


def _images(count: int) -> str:
    return f"{count} image{'s' if count != 1 else ''}"


def show_left_out(dataset: "Dataset", *, most: int | None = None, doubts: bool = True) -> None:
    """Say what of a folder is not used, and why.

    Args:
        dataset: as it was read.
        most: files that are named one by one; all when left out.
        doubts: name what may be mistaken too.
    """
    from workbench.data.sources import shown

    for aside in dataset.set_aside[:most]:
        say(f"set aside: {shown(aside.name)}: {aside.reason}", style="yellow")
    if most is not None and (more := len(dataset.set_aside) - most) > 0:
        say(f"set aside: {more} more; `workbench buckets FOLDER` names them all", style="yellow")
    for doubt in dataset.doubts if doubts else ():
        say(f"doubt: {doubt}", style="yellow")
    for note in dataset.notes:
        say(f"note: {note}")
