"""Which names belong together: letter case, ways to write an accent and stray blanks aside."""

import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable
from pathlib import Path

from workbench import store

__all__ = [
    "CAPTION_EXTENSIONS",
    "CaptionPlaces",
    "Variants",
    "captions_beside",
    "folded",
    "is_caption_name",
    "is_exact",
    "is_image_name",
    "stem_of",
    "stems_of",
    "tails",
]

CAPTION_EXTENSIONS = (".txt", ".caption")


def folded(name: str) -> str:
    """A name as systems see it that ignore case and ways to write an accent.

    Args:
        name: any.
    Returns:
        What to compare.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def stem_of(name: str) -> str:
    """A file's name without its extension, its folders kept.

    Args:
        name: with forward slashes; a leading dot begins no extension.
    Returns:
        The name itself where it has no extension.
    """
    start = name.rfind("/") + 1
    dot = name.rfind(".")
    return name[:dot] if dot > start else name


def is_image_name(name: str) -> bool:
    """Whether a file is called like a picture that may be read.

    Args:
        name: of a file.
    Returns:
        By its extension alone, in any letter case.
    """
    return name[len(stem_of(name)) :].lower() in store.IMAGE_EXTENSIONS


def is_caption_name(name: str) -> bool:
    """Whether a file is called like a caption.

    Args:
        name: of a file.
    Returns:
        By its extension alone, in any letter case.
    """
    return name[-8:].lower().endswith(CAPTION_EXTENSIONS)


def captions_beside(name: str, *, specific: bool = False) -> tuple[str, ...]:
    """Names that a picture's caption has, the first one first.

    Args:
        name: of the picture.
        specific: another picture has the same stem, so that `a.png.txt` says more than `a.txt`.
    Returns:
        `a.txt`, `a.caption`, `a.png.txt`, `a.png.caption`.
    """
    short = tuple(stem_of(name) + extension for extension in CAPTION_EXTENSIONS)
    whole = tuple(name + extension for extension in CAPTION_EXTENSIONS)
    return (*whole, *short) if specific else (*short, *whole)


class Variants:
    """Caption files that are written otherwise than their picture: `A.TXT`, NFD, `a .txt`.

    Args:
        captions: names of caption files.
    """

    def __init__(self, captions: Iterable[str]) -> None:
        self._by_key: dict[str, list[str]] = defaultdict(list)
        for name in captions:
            self._by_key[_key(name)].append(name)

    def of(self, name: str) -> list[str]:
        """Find caption files that may be a picture's.

        Args:
            name: one of `captions_beside`.
        Returns:
            Their names, sorted; empty where there are none.
        """
        return sorted(self._by_key.get(_key(name), ()))


def _key(name: str) -> str:
    """Folder as it is; the file's own name folded, blanks at the ends of its parts left out."""
    folder, slash, own = name.rpartition("/")
    stem, dot, extension = folded(own).rpartition(".")
    inner, second, kind = stem.rpartition(".")
    stem = f"{inner.strip()}.{kind.strip()}" if second else stem.strip()
    return f"{folder}{slash}{stem}{dot}{extension.strip()}"


def tails(name: str) -> list[str]:
    """A path's ends, the longest first: where an absolute one may lie in another folder.

    Args:
        name: with forward slashes.
    Returns:
        `a/b/c.png`, `b/c.png`, `c.png`.
    """
    parts = [part for part in name.split("/") if part]
    return ["/".join(parts[start:]) for start in range(len(parts))]


class CaptionPlaces:
    """Where the captions of pictures in folders are, or would be written."""

    def __init__(self) -> None:
        self._folders: dict[Path, tuple[set[str], Variants, set[str]]] = {}

    def of(self, picture: Path) -> Path:
        """Find the file of a picture's caption, however it is written.

        Args:
            picture: an existing file.
        Returns:
            The caption file that is there, else where to write one: `a.txt`, or `a.png.txt` where
            another picture is called `a` too.
        """
        exact, variants, shared = self._folder(picture.parent)
        beside = captions_beside(picture.name, specific=stem_of(picture.name) in shared)
        there = [name for name in beside if name in exact]
        there += [name for one in beside for name in variants.of(one)]
        return picture.with_name((*there, *beside)[0])

    def _folder(self, folder: Path) -> tuple[set[str], Variants, set[str]]:
        if folder not in self._folders:
            names = sorted(entry.name for entry in folder.iterdir())
            stems, shared = stems_of(filter(is_image_name, names))
            known = stems | {name for name in names if is_image_name(name)}
            captions = set(filter(is_caption_name, names))
            exact = {x for x in captions if is_exact(x, known)}
            self._folders[folder] = exact, Variants(captions - exact), shared
        return self._folders[folder]


def stems_of(images: Iterable[str]) -> tuple[set[str], set[str]]:
    """Collect names without extensions.

    Args:
        images: names of pictures.
    Returns:
        All stems, and those that several pictures share.
    """
    stems: set[str] = set()
    shared: set[str] = set()
    for name in images:
        stem = stem_of(name)
        (shared if stem in stems else stems).add(stem)
    return stems, shared


def is_exact(caption: str, known: Container[str]) -> bool:
    """Say whether a caption file is named just as its picture is.

    Args:
        caption: its name.
        known: names of all pictures, with and without their extensions.
    Returns:
        False for another letter case, also of the extension.
    """
    stem = stem_of(caption)
    return caption[len(stem) :] in CAPTION_EXTENSIONS and stem in known
