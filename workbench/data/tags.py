"""Tags of many captions: what is in them, and how each is changed."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal

from workbench.data.captions import (
    KEEP_MARK,
    TOGETHER_MARK,
    WIDE_COMMAS,
    CaptionSettings,
    has_wide_commas,
    is_prose,
    split_tags,
)

__all__ = ["Mode", "co_occurrence", "count_tags", "edit_caption", "join_caption", "prose_share"]


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
    append: Sequence[str] = (),
) -> str:
    """Change the tags of one caption; marks and line breaks stay where they are.

    Args:
        caption: text; a tag must match whole.
        settings: for the separator.
        rename: old tag to new; several to the same one merges them, since none is doubled.
        remove: tags to take out.
        prepend: tags to put first, for example a trigger; those that are there move.
        append: tags to put last where they are not there yet.
    Returns:
        The new text.
    """
    rename, removed = rename or {}, {*remove, *prepend}
    wide = WIDE_COMMAS if has_wide_commas(caption, settings) else ""
    marks = [
        *wide,
        settings.separator.strip() or settings.separator,
        KEEP_MARK,
        TOGETHER_MARK,
        "\n",
    ]
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
        elif KEEP_MARK in after or "\n" in after or TOGETHER_MARK in joint or not joint:
            joint = after if result else ""
    return join_caption(result, append, settings, mode="append") if append else result


Mode = Literal["missing", "append", "prepend", "replace"]


def join_caption(
    old: str,
    new: Sequence[str],
    settings: CaptionSettings,
    *,
    mode: Mode,
    exclude: Iterable[str] = (),
) -> str:
    """Put tags or sentences that a model found into a caption.

    Args:
        old: the caption so far; "" where there is none.
        new: what was found, in order.
        settings: for the separator.
        mode: "missing" writes only where there is no caption; "append" and "prepend" add what is
            not there yet to the flexible tags, in every line; "replace" forgets the old caption.
        exclude: tags of `new` that are never written.
    Returns:
        The new caption.
    """
    unwanted = set(exclude)
    found = [text for text in dict.fromkeys(new) if text and text not in unwanted]
    if mode == "replace" or not old.strip():
        return settings.separator.join(found)
    if mode == "missing":
        return old
    lines = [
        _joined_line(line, found, settings, first=mode == "prepend") for line in old.split("\n")
    ]
    return "\n".join(lines)


def _joined_line(line: str, found: Sequence[str], settings: CaptionSettings, *, first: bool) -> str:
    """One line with what it lacks, between the marks of its fixed head and tail."""
    there = set(split_tags(line, settings))
    added = settings.separator.join(text for text in found if text not in there)
    if not added or not line.strip():
        return line
    head, body, tail = "", line, ""
    if KEEP_MARK in body:
        head, mark, body = body.partition(KEEP_MARK)
        head += mark
    if KEEP_MARK in body:
        body, mark, tail = body.partition(KEEP_MARK)
        tail = f" {mark}{tail}"
    spaced = head[-4:-3] == " "  # `a ||| b` is written with spaces, `a|||b` without
    parts = (added, body.strip()) if first else (body.strip(), added)
    joined = settings.separator.join(part for part in parts if part)
    return head + (" " if spaced else "") + joined + (tail if spaced else tail.lstrip())


def prose_share(captions: Iterable[str], settings: CaptionSettings) -> float:
    """Say how many captions are sentences, which tag dropout would break.

    Args:
        captions: texts.
        settings: for the separator.
    Returns:
        Share of those that are not empty, 0 to 1.
    """
    written = [caption for caption in captions if caption.strip()]
    return sum(is_prose(caption, settings) for caption in written) / max(1, len(written))
