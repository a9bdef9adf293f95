"""What lies among pictures and is none of the user's: left by systems, tools and copies."""

import re

from workbench.data.names import folded, stem_of

__all__ = ["OWN_FOLDERS", "is_copy_of", "is_litter_folder", "leftover_of"]

# Hidden folders of ours, of which nobody need be told.
OWN_FOLDERS = frozenset({".captions", ".masks", ".parts"})
# Without a leading dot, which hides a folder anyway. Compared folded.
_FOLDERS = frozenset(
    {
        *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "lost+found"),
        *("found.000", "lost.dir", "network trash folder", "temporary items", "_gsdata_"),
        *("onedrivetemp", "__pycache__", "thumbs", "_thumbs", "thumbnails", "_thumbnails"),
    }
)
# What sync tools put behind the name of a file that was changed in two places.
_CONFLICTS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r" ?\([^()]*(conflicted copy|case conflict|conflict copy|selective sync conflict|"
        r"unicode encoding conflict|in conflict|conflicto|konflikt|conflit)[^()]*\)$",
        r" ?\[conflict[^\]]*\]$",
        r"(?<!\.sync)[._ -]conflict([._ -]?\d{4,}.*)?$",
        r"\.sync-conflict-\d{8}-\d{6}(-\w+)?$",
        r"-(DESKTOP|LAPTOP|WIN|PC)-[A-Z0-9]{4,}(-\d+)?$",
    )
)
# What file managers and browsers put behind, or before, the name of a second copy.
_COPY = re.compile(
    r"(?: ?\(\d+\)| \d+|[ _-]+(?:copy|copie|kopie|copia|コピー|副本)(?: ?\(?\d+\)?)?)$",
    re.IGNORECASE,
)
_COPY_OF = re.compile(r"^(?:copy|copie|kopie|copia)(?: of| de| von)? ", re.IGNORECASE)
_RESIZED = re.compile(r"-(\d{2,4})x(\d{2,4})$")  # as WordPress names its small versions
_OTHERS = (
    *((pattern, "a sync tool's copy of a picture that is here too") for pattern in _CONFLICTS),
    (
        re.compile(r"[._ -](thumb|thumbs|thumbnail|tn)$", re.IGNORECASE),
        "a thumbnail of a picture that is here too",
    ),
    (
        re.compile(r"-condlabel$", re.IGNORECASE),
        "OneTrainer's conditioning picture of one that is here too",
    ),
)


def is_litter_folder(name: str) -> bool:
    """Recognise folders that systems and tools make, whose pictures are nobody's.

    Args:
        name: of a folder, without its parents.
    Returns:
        True for thumbnails, recycle bins, archives' and sync tools' own folders.
    """
    return folded(name) in _FOLDERS


def leftover_of(name: str, size: tuple[int, int]) -> tuple[str, str] | None:
    """Recognise what tools make beside a picture and name after it.

    Args:
        name: of a file that may be one.
        size: its width and height, px.
    Returns:
        Stem of the picture that it would belong to, folded, and what it would be then; None for
        other names. It is a picture of its own where no such partner is there.
    """
    stem = stem_of(name)
    for pattern, what in _OTHERS:
        if match := pattern.search(stem):
            return folded(stem[: match.start()]), what
    match = _RESIZED.search(stem)
    if match and (int(match[1]), int(match[2])) == size:
        return folded(stem[: match.start()]), "a smaller version of a picture that is here too"
    return None


def is_copy_of(name: str, other: str) -> bool:
    """Say whether a name is one that systems give to a second copy.

    Args:
        name: such as `x (1).png` or `x - Copy.png`.
        other: such as `x.png`.
    Returns:
        By the names alone; `x (1).png` may be another picture all the same.
    """
    stem, first = stem_of(name).rpartition("/")[2], stem_of(other).rpartition("/")[2]
    return stem != first and first in (_COPY.sub("", stem), _COPY_OF.sub("", stem))
