"""`caption` and `buckets`: what a folder of images holds, and what the trainer makes of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.terminal import Overrides, say, table

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset

Folder = Annotated[
    str, typer.Argument(metavar="FOLDER", help="images and captions: a folder or a .zip.")
]
MANY_TAGS = 40


def caption(
    folder: Folder,
    settings: Overrides = None,
    trigger: Annotated[
        str | None, typer.Option(metavar="WORD", help="word to put first in every caption.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="tag to rename.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="TAG", help="tag to remove.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="write the changes; without it they are shown only.")
    ] = False,
    draws: Annotated[int, typer.Option(min=1, help="draws of the first caption to show.")] = 5,
) -> None:
    """Count tags, edit them in bulk, and show what the trainer draws from a caption.

    Settings are those below `data` in a recipe, for example captions.tag_dropout=0.3.
    """
    from workbench.data import tags
    from workbench.data.sources import shown

    if trigger is not None:
        _one_word("--trigger", trigger)
    # Buckets do not matter here, and must not set an image aside.
    every_size = ["buckets.max_upscale=100000", "buckets.max_lost=1"]
    dataset = _read(folder, [*every_size, *(settings or [])])
    if not (trigger or rename or remove):
        _show_tags(dataset)
        _show_draws(dataset, draws)
        return
    changes = tags.plan_edit(
        dataset,
        rename=dict(map(_renaming, rename or [])),
        remove=remove or [],
        prepend=[trigger] if trigger else [],
    )
    for change in changes:
        say(f"{shown(change.name)}: {change.after}")
    if write:
        say(f"{tags.apply(changes)} of {len(dataset)} captions changed.")
    else:
        say(f"{len(changes)} of {len(dataset)} captions would change; --write does it.")


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

    dataset = _read(folder, settings or [])
    account = ledger(dataset)
    used = [row for row in account.rows() if row.bucket and row.crop]
    table(
        ("image", "size", "scale", "bucket", "cut off", "repeats"),
        [
            (
                shown(row.name),
                f"{row.width} x {row.height}",
                f"{row.scale:.2f}",
                _size(row.bucket or ()),
                f"{row.lost:.1%}",
                str(row.repeats),
            )
            for row in used
        ],
    )
    for bucket in account.buckets:
        say(f"{_size(bucket.bucket)}: {_images(bucket.num_images)}")
    _show_left_out(dataset)
    if csv:
        say(str(store.write_text(csv, account.to_csv())))


def _read(folder: str, settings: list[str]) -> "Dataset":
    from workbench.data.dataset import DataSettings, index
    from workbench.data.subsets import Subset
    from workbench.settings import override

    return index(override(DataSettings(subsets=(Subset(path=folder),)), settings))


def _size(sides: tuple[int, ...]) -> str:
    return " x ".join(map(str, sides))


def _images(count: int) -> str:
    return f"{count} image{'s' if count != 1 else ''}"


def _renaming(pair: str) -> tuple[str, str]:
    from workbench.settings import SettingsError

    old, equals, new = (part.strip() for part in pair.partition("="))
    if not (old and equals and new):
        raise SettingsError(f"--rename must have the form OLD=NEW, got {pair!r}")
    return old, new


def _one_word(option: str, text: str) -> None:
    from workbench.settings import SettingsError

    if not text.strip() or not text.isprintable():
        raise SettingsError(f"{option} must be a word on one line, got {text!r}")


def _show_left_out(dataset: "Dataset") -> None:
    from workbench.data.sources import shown

    for aside in dataset.set_aside:
        say(f"set aside: {shown(aside.name)}: {aside.reason}", style="yellow")
    for note in dataset.notes:
        say(f"note: {note}")


def _show_tags(dataset: "Dataset") -> None:
    from workbench.data.tags import count_tags

    captions = [record.caption for record in dataset.records]
    counts = count_tags(captions, dataset.settings.captions)
    table(("tag", "images"), [(tag, str(n)) for tag, n in counts.most_common(MANY_TAGS)])
    if len(counts) > MANY_TAGS:
        say(f"and {len(counts) - MANY_TAGS} rarer ones")
    empty = sum(not caption for caption in captions)
    say(f"{len(counts)} tags in {len(captions)} images, {empty} of them without a caption")
    _show_left_out(dataset)


def _show_draws(dataset: "Dataset", num_shown: int) -> None:
    from workbench.data.captions import simulate
    from workbench.data.sources import shown

    record = dataset.records[0]
    subset = dataset.settings.subsets[record.subset]
    simulation = simulate(
        record.caption,
        dataset.settings.captions,
        trigger=subset.trigger,
        class_word=subset.class_word,
    )
    say(f"\nWhat the trainer sees of {shown(record.name)}:")
    for draw in dict.fromkeys(simulation.draws[:num_shown]):
        say(f"  {draw or '(an empty caption)'}")
    shares = ", ".join(f"{tag} {share:.0%}" for tag, share in simulation.survival.items())
    say(f"Each tag's share of {len(simulation.draws)} draws: {shares}")
