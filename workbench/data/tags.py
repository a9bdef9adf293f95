"""Captions of a whole folder: what is in them, and changing them all at once."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from workbench import store
from workbench.data.captions import KEEP_MARK, TOGETHER_MARK, CaptionSettings, split_tags
from workbench.data.dataset import Dataset
from workbench.data.sources import CAPTION_EXTENSIONS
from workbench.store import FileRefused

__all__ = ["Change", "apply", "co_occurrence", "count_tags", "edit_caption", "plan_edit"]


def count_tags(captions: Iterable[str], settings: CaptionSettings) -> Counter[str]:
    """Count in how many captions each tag stands.

    Args:
        captions: texts.
        settings: for the separator.
    Returns:
        Tag to number of captions.
    """
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(dict.fromkeys(split_tags(caption, settings), 1))
    return counts


def co_occurrence(
    captions: Iterable[str], settings: CaptionSettings, *, num_tags: int = 50
) -> Counter[tuple[str, str]]:
    """Count which tags stand together: tags that always do cannot be told apart by training.

    Args:
        captions: texts.
        settings: for the separator.
        num_tags: only the most frequent ones are looked at, since pairs grow with their square.
    Returns:
        Pair in alphabetical order to number of captions.
    """
    captions = list(captions)
    top = {tag for tag, _ in count_tags(captions, settings).most_common(num_tags)}
    pairs: Counter[tuple[str, str]] = Counter()
    for caption in captions:
        pairs.update(combinations(sorted(top.intersection(split_tags(caption, settings))), 2))
    return pairs


def edit_caption(
    caption: str,
    settings: CaptionSettings,
    *,
    rename: Mapping[str, str] | None = None,
    remove: Iterable[str] = (),
    prepend: Sequence[str] = (),
) -> str:
    """Change the tags of one caption; marks and line breaks stay where they are.

    Args:
        caption: text; a tag must match whole.
        settings: for the separator.
        rename: old tag to new; a tag that is there already is not doubled.
        remove: tags to take out.
        prepend: tags to put first, for example a trigger; those that are there move.
    Returns:
        The new text.
    """
    rename, removed = rename or {}, {*remove, *prepend}
    marks = [settings.separator.strip() or settings.separator, KEEP_MARK, TOGETHER_MARK, "\n"]
    pieces = re.split(rf"([^\S\n]*(?:{'|'.join(map(re.escape, marks))})[^\S\n]*)", caption)
    result = settings.separator.join(prepend)
    seen: set[str] = set(prepend)
    joint = settings.separator if prepend else ""
    for tag, after in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        new = rename.get(tag.strip(), tag.strip())
        if "\n" in joint:
            seen = set()  # lines are alternatives to each other
        if new and new not in removed and new not in seen:
            result += joint + new
            seen.add(new)
            joint = after
        elif KEEP_MARK in after or "\n" in after or not joint:
            joint = after if result else ""
    return result


@dataclass(frozen=True, slots=True)
class Change:
    """A caption file before and after an edit."""

    name: str
    path: Path
    before: str
    after: str


def plan_edit(
    dataset: Dataset,
    *,
    rename: Mapping[str, str] | None = None,
    remove: Iterable[str] = (),
    prepend: Sequence[str] = (),
) -> list[Change]:
    """Say what an edit of all captions would write, so that it can be looked at first.

    Args:
        dataset: pictures in folders.
        rename: see `edit_caption`.
        remove: see `edit_caption`.
        prepend: see `edit_caption`.
    Returns:
        Changes; captions that stay as they are are left out.
    Raises:
        FileRefused: a picture lies in a zip or is drawn, so that there is no place beside it.
    """
    remove = tuple(remove)
    changes = []
    for record in dataset.records:
        if record.path is None:
            raise FileRefused(
                f"{dataset.label(record)}: captions in a zip or a drawn world cannot be edited; "
                "unpack the zip and name its folder"
            )
        settings = dataset.settings.captions
        after = edit_caption(
            record.caption, settings, rename=rename, remove=remove, prepend=prepend
        )
        if after != record.caption:
            places = [record.path.with_suffix(extension) for extension in CAPTION_EXTENSIONS]
            # A caption from metadata gets a file of its own, which is read first from then on.
            path = next((place for place in places if place.exists()), places[0])
            changes.append(Change(record.name, path, record.caption, after))
    return changes


def apply(changes: Iterable[Change]) -> int:
    """Write changed captions, each file whole or not at all.

    Args:
        changes: from `plan_edit`.
    Returns:
        Number of files written.
    """
    written = 0
    for change in changes:
        store.write_text(change.path, change.after + "\n")
        written += 1
    return written
