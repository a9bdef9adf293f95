"""Telling masks from pictures by their names, as every trainer writes them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from workbench.data.names import folded, is_image_name, stem_of

__all__ = ["WRITTEN", "find_masks"]

WRITTEN = "-mask"  # how masks are called that are painted here
# NAME-mask, NAME_mask, NAME.mask; -masklabel is OneTrainer's.
_ENDING = re.compile(r"^(.+?)[-_. ](?:alpha[-_]?)?(?:masks?|masklabel|matte)$")
_PREFIX = re.compile(r"^masks?[-_. ](.+)$")
# masks/NAME; conditioning/NAME is what sd-scripts calls the masks of its masked loss.
_FOLDER = re.compile(
    r"^(?:(?:alpha[-_]?)?(?:masks?|mattes?)|mask[-_]?images|conditioning(?:[-_](?:data|images|masks?))?)$"
)
_FOLDER_ENDING = re.compile(r"^(.+)[-_. ](?:masks?|mattes?)$")  # images_masks beside images


def find_masks(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Tell masks from pictures by their names, in any letter case.

    Args:
        names: all files of a subset, relative, with forward slashes.
    Returns:
        Picture to its mask, and masks without a picture: files in a folder of masks that holds
        some with one. `gas_mask.png` without a `gas.*` is a picture.
    """
    names = [name for name in names if is_image_name(name)]
    marked = [name for name in names if _may_be_mask(folded(name))]
    if not marked:
        return {}, []
    pictures = _Pictures(names)
    found: dict[str, str] = {}
    lonely: list[str] = []
    for mask in marked:
        whose = [name for name in pictures.of(folded(mask)) if name != mask]
        for name in whose:
            found.setdefault(name, mask)
        if not whose and any(map(_FOLDER.match, folded(mask).split("/")[:-1])):
            lonely.append(mask)
    # A mask of a mask: the one that is marked itself is no picture.
    found = {name: mask for name, mask in found.items() if name not in set(found.values())}
    used = {_folder(mask) for mask in found.values()}
    return found, [name for name in lonely if _folder(name) in used]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _may_be_mask(name: str) -> bool:
    *folders, own = stem_of(name).split("/")
    in_folder = any(_FOLDER.match(one) or _FOLDER_ENDING.match(one) for one in folders)
    return in_folder or bool(_ENDING.match(own) or _PREFIX.match(own))


class _Pictures:
    """Pictures by their folded names, with and without their extensions."""

    def __init__(self, names: list[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._beside: dict[tuple[str, str], list[str]] | None = None
        self._names = names
        for name in names:
            whole = folded(name)
            self._by_name[stem_of(whole)].append(name)
            self._by_name[whole].append(name)

    def of(self, mask: str) -> list[str]:
        """Whose mask a file would be: the first way of naming that meets a picture."""
        stem = stem_of(mask)
        for candidate in _partners(stem):
            if there := self._by_name.get(candidate):
                return there
        for place, rest in _places(stem):
            there = self._neighbours().get((place, rest), [])
            # Two folders beside it hold one of this name: whose it is cannot be known.
            if there and len({_folder(name) for name in there}) == 1:
                return there
        return []

    def _neighbours(self) -> dict[tuple[str, str], list[str]]:
        """Pictures by a folder and their path below a folder in it: `images/a` of `masks/a`."""
        if self._beside is None:
            self._beside = defaultdict(list)
            for name in self._names:
                parts = stem_of(folded(name)).split("/")
                for depth in range(len(parts) - 1):
                    if not _FOLDER.match(parts[depth]):
                        key = "/".join(parts[:depth]), "/".join(parts[depth + 1 :])
                        self._beside[key].append(name)
        return self._beside


def _own_names(own: str) -> Iterator[str]:
    """What a mask's picture may be called: without its mark, or just like it."""
    for pattern in (_ENDING, _PREFIX):
        if match := pattern.match(own):
            yield match[1]


def _partners(stem: str) -> Iterator[str]:
    """Stems of the pictures that a mask may belong to, beside it or one folder up."""
    *folders, own = stem.split("/")
    for depth in reversed(range(len(folders))):
        above, below = folders[:depth], folders[depth + 1 :]
        ending = _FOLDER_ENDING.match(folders[depth])
        if ending:
            places = [[*above, ending[1], *below]]
        elif _FOLDER.match(folders[depth]):
            places = [[*above, *below]]
        else:
            continue
        for place in places:
            yield from ("/".join([*place, name]) for name in (*_own_names(own), own))
    yield from ("/".join([*folders, name]) for name in _own_names(own))


def _places(stem: str) -> Iterator[tuple[str, str]]:
    """Where a folder of masks lies, and the path of the picture below a folder beside it."""
    *folders, own = stem.split("/")
    for depth in reversed(range(len(folders))):
        if _FOLDER.match(folders[depth]):
            above, below = "/".join(folders[:depth]), folders[depth + 1 :]
            for name in (*_own_names(own), own):
                yield above, "/".join([*below, name])
