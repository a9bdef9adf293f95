"""Which words belong to which picture of a folder, and which words belong to none."""

import difflib
import json
from collections import Counter
from collections.abc import Sequence

from workbench.data import kohya
from workbench.data.augment import Box
from workbench.data.listed import (
    Listed,
    Resolver,
    caption_of,
    is_metadata,
    json_list,
    line_list,
    metadata,
)
from workbench.data.names import (
    Variants,
    captions_beside,
    is_caption_name,
    is_exact,
    stem_of,
    stems_of,
)
from workbench.data.sources import MADE_BY, Files, shown
from workbench.data.subsets import LeftOut, Subset
from workbench.data.texts import decode_caption, legacy_codec, may_be_legacy
from workbench.store import FileRefused

__all__ = ["CaptionReader"]

NUM_NAMED = 5
_LIST_BYTES = 1 << 20  # a text file that lists captions is no longer than this


class CaptionReader:
    """Finds the words of each picture of a subset, and counts what is left over.

    Args:
        subset: what is read.
        files: of it.
        images: its pictures, without masks.
        prefix: path of the subset's settings, for messages.
    """

    def __init__(self, subset: Subset, files: Files, images: Sequence[str], *, prefix: str) -> None:
        self.subset, self.files, self.prefix = subset, files, prefix
        self.without: Counter[str] = Counter()  # what became of pictures without a caption
        self.num_bare = 0
        self._bare: list[str] = []
        self._several: list[str] = []  # pictures with more than one caption
        self._loose: list[str] = []  # captions taken though their names differ
        self._refused: list[bytes] = []
        self._doubtful: dict[str, bytes] = {}
        stems, self.shared = stems_of(images)
        whole = set(images)
        from_files = subset.captions_from in ("auto", "files")
        captions = filter(is_caption_name, files.names if from_files else ())
        self._exact: set[str] = set()
        self._left: set[str] = set()  # caption files that no picture took
        for name in captions:
            own = is_exact(name, stems) or is_exact(name, whole)
            (self._exact if own else self._left).add(name)
        self._variants = Variants(self._left)
        self.listed: dict[str, Listed] = {}
        self.used: set[str] = set()  # JSON files that captions were read from
        self._jsons: set[str] = set()
        self._lists: list[str] = []
        self._doubts: list[str] = []
        self._read_lists(images, stems)

    def _read_lists(self, images: Sequence[str], stems: set[str]) -> None:
        """Read what holds the captions of many pictures."""
        if self.subset.captions_from == "none":
            return
        by_metadata = self.subset.captions_from in ("auto", "metadata") and self._has_lists()
        if not by_metadata and not self._left:
            return
        resolver = Resolver(images)
        if by_metadata:
            for name in filter(is_metadata, self.files.names):
                self.listed |= metadata(self.files, name, resolver)
            self._read_jsons(stems | set(images), resolver)
        for name in sorted(self._left):
            self._read_lines(name, resolver)

    def _read_jsons(self, known: set[str], resolver: Resolver) -> None:
        jsons = [x for x in self.files.names if x.lower().endswith(".json") and not _is_own(x)]
        self._jsons = {name for name in jsons if stem_of(name) in known}  # of one picture each
        rest = [name for name in jsons if name not in self._jsons]
        found, self._lists, self._doubts = json_list(self.files, rest, resolver)
        self.listed = found | self.listed
        self.used |= set(self._lists)

    def _has_lists(self) -> bool:
        return any(is_metadata(x) or x.lower().endswith(".json") for x in self.files.names)

    def _read_lines(self, name: str, resolver: Resolver) -> None:
        """Read a text file that belongs to no picture, where each line is a picture's caption."""
        with self.files.open(name) as file:
            data = file.read(_LIST_BYTES + 1)
        try:
            text = decode_caption(data) if len(data) <= _LIST_BYTES else ""
        except ValueError:
            return
        found = line_list(text, name.rpartition("/")[0], resolver)
        if found:
            self.listed = found | self.listed
            self._left.discard(name)
            self._lists.append(name)

    def words(self, name: str, folder_words: str) -> str:
        """The caption, with the policy applied where there is none.

        Args:
            name: of a picture.
            folder_words: caption of last resort.
        Returns:
            Its words, "" where there are none.
        Raises:
            FileRefused: the caption cannot be decoded.
            LeftOut: there is none, and such pictures are excluded.
        """
        if caption := self._written(name):
            return caption
        if folder_words:
            self.without["shown with their folder's name"] += 1
        elif self.subset.missing_caption == "exclude":
            self.without["set aside"] += 1
            raise LeftOut("it has no caption, and missing_caption is exclude")
        else:
            word = "class word" if self.subset.is_prior else "trigger"
            self.without[f"shown with their {word} alone"] += 1
            self.num_bare += 1
            self._bare.append(name)
        return folder_words

    def _written(self, name: str) -> str:
        """What a caption file or a list says of a picture."""
        specific = stem_of(name) in self.shared
        beside = captions_beside(name, specific=specific)
        found = [one for one in beside if one in self._exact]
        listed = self.listed[name].caption if name in self.listed else ""
        if not found and (found := self._unlike(beside)):
            self._loose.append(f"{shown(name)} ({shown(found[0])})")
        if len(found) > 1 or (found and listed):
            self._several.append(f"{shown(name)} ({shown(found[0])})")
        if found:
            self._left.difference_update(found)
            return self._decoded(name, found[0])
        return listed or self._from_json(name)

    def _unlike(self, beside: Sequence[str]) -> list[str]:
        """Caption files that differ from a picture's name in letter case, accents or blanks."""
        found = [there for one in beside for there in self._variants.of(one)]
        return list(dict.fromkeys(found))

    def _decoded(self, name: str, caption: str) -> str:
        with self.files.open(caption) as file:
            data = file.read()
        try:
            text = decode_caption(data)
        except ValueError as error:
            self._refused.append(data)
            raise FileRefused(f"its caption {shown(caption)} {error}") from None
        if may_be_legacy(data):
            self._doubtful[name] = data
        return text

    def _from_json(self, name: str) -> str:
        """What a JSON file of the picture alone says, as ai-toolkit and downloaders write it."""
        place = next((x for x in (f"{stem_of(name)}.json", f"{name}.json") if x in self._jsons), "")
        if not place:
            return ""
        self.used.add(place)
        with self.files.open(place) as file:
            data = file.read()
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise FileRefused(f"its caption {shown(place)} is not valid JSON: {error}") from None
        return caption_of(fields) if isinstance(fields, dict) else ""

    def box(self, name: str, size: tuple[int, int]) -> Box | None:
        """What a crop should hold: from the metadata, else from a file name as kohya writes it.

        Args:
            name: of a picture.
            size: width and height, px.
        Returns:
            The box; None without one.
        Raises:
            FileRefused: it lies outside the picture.
        """
        listed = self.listed[name].box if name in self.listed else None
        box = listed or kohya.kohya_box(name)
        if box is None or _overlaps(box, size):
            return box
        if listed is None:
            return None  # four numbers that mean something else
        numbers = ", ".join(f"{number:g}" for number in listed)
        raise FileRefused(f"its box ({numbers}) lies outside its {size[0]} x {size[1]} px")

    def in_legacy_encoding(self) -> dict[str, str]:
        """Pictures whose captions are valid UTF-8 by chance alone, as their neighbours show.

        Returns:
            Name to reason.
        """
        codec = legacy_codec(self._refused) if self._refused else None
        if codec is None:
            return {}
        return {
            name: f"its caption is valid UTF-8 by chance and reads as {codec}, as its neighbours "
            "do, which are no UTF-8; save it as UTF-8"
            for name, data in self._doubtful.items()
            if legacy_codec([data]) is not None
        }

    def notes(self) -> list[str]:
        """What the user should know about the captions."""
        notes = []
        if self.without:
            what = ", ".join(f"{count} {fate}" for fate, count in self.without.items())
            notes.append(f"{self.without.total()} pictures without a caption: {what}")
        if self._lists:
            notes.append(f"captions were read from {', '.join(map(shown, self._lists))}")
        if self._several:
            notes.append(
                f"{len(self._several)} pictures have several captions; .txt is read before "
                f".caption and both before metadata: {named(self._several)}"
            )
        if self._loose:
            notes.append(
                f"captions whose names differ from their pictures' in letter case, accents or "
                f"blanks were taken ({len(self._loose)}): {named(self._loose)}"
            )
        return notes

    def doubts(self) -> list[str]:
        """What may be lost or mistaken."""
        doubts = list(self._doubts)
        if self._left:
            stems = {stem_of(name): name for name in self._bare[:1000]}
            lost = [_with_hint(name, stems) for name in sorted(self._left)]
            doubts.append(f"caption files that no picture took ({len(lost)}): {named(lost)}")
        if self._refused and self._doubtful:
            doubtful = [
                shown(name) for name in self._doubtful if name not in self.in_legacy_encoding()
            ]
            if doubtful:
                doubts.append(
                    f"captions that may be in the older encoding of their neighbours, which are no "
                    f"UTF-8 ({len(doubtful)}): {named(doubtful)}"
                )
        return doubts


def _is_own(name: str) -> bool:
    return name.rpartition("/")[2] == MADE_BY


def _with_hint(caption: str, bare: dict[str, str]) -> str:
    near = difflib.get_close_matches(stem_of(caption), bare, n=1, cutoff=0.8)
    return shown(caption) + (f" (is {shown(bare[near[0]])} meant?)" if near else "")


def named(names: Sequence[str]) -> str:
    """The first few of many names, as they may stand in a note.

    Args:
        names: printable ones.
    Returns:
        At most five, and how many more there are.
    """
    more = f" and {len(names) - NUM_NAMED} more" if len(names) > NUM_NAMED else ""
    return ", ".join(names[:NUM_NAMED]) + more


def _overlaps(box: Box, size: tuple[int, int]) -> bool:
    sides = zip(box[:2], box[2:], size, strict=True)
    return all(start < length and start + extent > 0 for start, extent, length in sides)
