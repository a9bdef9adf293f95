"""Finding a subset's pictures and captions from names and headers alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from workbench import store
from workbench.critters.draw import WORLD_SIZES
from workbench.data import sources
from workbench.data.augment import Box
from workbench.data.buckets import BucketSettings, Placement, place, why_excluded
from workbench.data.captioning import CaptionReader, named
from workbench.data.drawn import source
from workbench.data.duplicates import Duplicates
from workbench.data.inpainting import InpaintingSettings
from workbench.data.kohya import KohyaFolders
from workbench.data.litter import is_copy_of, leftover_of
from workbench.data.masks import GREY_MODES, Mask, MaskReader, MaskSettings
from workbench.data.names import folded, is_caption_name, is_image_name, stem_of
from workbench.data.sources import Files, shown
from workbench.data.subsets import (
    WORLD,
    Computed,
    LeftOut,
    Record,
    SetAside,
    Subset,
    world_length,
    world_record,
)
from workbench.settings import SettingsError
from workbench.store import FileRefused

__all__ = ["Reading", "read_subset"]

_OWN_FILES = (*sources.METADATA_NAMES, sources.MADE_BY)  # nobody need be told that they are there
_SNIFFED = 32  # first bytes that tell a picture without a usual name


@dataclass(slots=True)
class Reading:
    """What one subset holds."""

    records: Sequence[Record] = field(default_factory=list)
    placements: Sequence[Placement] = field(default_factory=list)
    repeats: Sequence[int] = field(default_factory=list)  # apart, since drawn records cost time
    masks: Sequence[Mask | None] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)  # what may be lost or mistaken


def read_subset(
    subset: Subset,
    position: int,
    buckets: BucketSettings,
    *,
    masks: MaskSettings,
    filling: InpaintingSettings | None = None,
) -> Reading:
    """Find a subset's pictures and captions from names and headers alone; masks are decoded.

    Args:
        subset: what to read.
        position: of the subset in the recipe, for errors.
        buckets: sizes to place the pictures at.
        masks: where masks come from.
        filling: masks say what a base for inpainting fills in.
    Returns:
        Its records; files that cannot be used are set aside.
    Raises:
        SettingsError: no such source, or captions are missing and `missing_caption` refuses.
        FileRefused: a dangerous zip or damaged metadata.
    """
    if subset.path == WORLD:
        return _read_world(subset, position, buckets)
    prefix = f"data.subsets.{position}"
    if subset.num_images is not None:
        raise SettingsError(
            f"{prefix}.num_images is for {WORLD} alone, got {subset.num_images}; leave it out"
        )
    path = source(subset.path, setting=f"{prefix}.path")
    files = sources.open_files(path, setting=f"{prefix}.path", recursive=subset.recursive)
    whole = path.resolve()
    root_name = whole.stem if whole.is_file() else whole.name
    found = MaskReader(masks, files, filling=filling)
    reader = _Reader(subset, position, buckets, files=files, masks=found)
    if subset.kohya_folders:
        reader.folders = KohyaFolders(reader.images, root_name, prefix=prefix)
    for name in files.names:
        reader.take(name)
    return reader.finish(prefix)


def _read_world(subset: Subset, position: int, buckets: BucketSettings) -> Reading:
    # Sizes take turns, so that a picture's size is known without drawing or planning it.
    sizes = WORLD_SIZES
    placements = [place(*size, buckets) for size in sizes]
    count = world_length(subset)

    def record(index: int) -> Record:
        return world_record(subset, position, number=index, size=sizes[index % len(sizes)])

    return Reading(
        Computed(count, record),
        Computed(count, lambda index: placements[index % len(placements)]),
        Computed(count, lambda index: subset.repeats),
        [None] * count,
        notes=[f"{WORLD}: {count:,} new pictures are drawn in each epoch"],
    )


class _Reader:
    """Goes through the files of one subset, one name at a time."""

    def __init__(
        self,
        subset: Subset,
        position: int,
        buckets: BucketSettings,
        *,
        files: Files,
        masks: MaskReader,
    ) -> None:
        self.subset, self.position, self.buckets = subset, position, buckets
        self.files, self.masks = files, masks
        self.images = [x for x in files.names if is_image_name(x) and not masks.is_mask(x)]
        prefix = f"data.subsets.{position}"
        self.captions = CaptionReader(subset, files, self.images, prefix=prefix)
        self.folders: KohyaFolders | None = None
        self.copies = None if subset.keep_copies else Duplicates(files)
        self.records: list[Record] = []
        self.placements: list[Placement] = []
        self.found_masks: list[Mask | None] = []
        self.others: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.colours: Counter[str] = Counter()
        self.problems: dict[str, list[str]] = {}
        self.greys: list[str] = []
        self.alike: list[str] = []  # copies whose captions differ
        self.num_animated = 0
        self._folded: frozenset[str] | None = None
        there = set(files.names)
        self.set_aside = [
            SetAside(name, "listed in the metadata, but there is no such file")
            for name in sorted(self.captions.listed.keys() - there)
        ] + masks.set_aside()

    def take(self, name: str) -> None:
        """Use one file, set it aside, or count it as something else than a picture."""
        if self.masks.is_mask(name) or is_caption_name(name):
            return
        try:
            if not is_image_name(name) and not self._is_picture(name):
                return
            self._take_image(name)
        except FileRefused as error:
            # store names the file first; set-aside files stand under their name already.
            reason = str(error).removeprefix(f"{shown(name)}: ").removeprefix("image: ")
            self.set_aside.append(SetAside(name, reason, spare=isinstance(error, LeftOut)))

    def _is_picture(self, name: str) -> bool:
        """Whether a file of another name holds a picture; unread formats are refused by name."""
        own = name.rpartition("/")[2]
        if own in _OWN_FILES or own.lower().endswith(".json"):
            return False
        suffix = Path(name).suffix.lower()
        reason = store.UNREAD_EXTENSIONS.get(suffix)
        developed = suffix in store.RAW_EXTENSIONS and folded(stem_of(name)) in self._stems()
        if reason and not developed:
            raise FileRefused(reason)
        if developed:  # the camera's JPEG lies beside it
            self.others[suffix] += 1
            return False
        with self._opened(name) as file:
            if store.is_picture(file.read(_SNIFFED)):
                return True
        self.others[suffix or "no extension"] += 1
        return False

    def _take_image(self, name: str) -> None:
        if any("\udc80" <= letter <= "\udcff" for letter in name):
            raise FileRefused("its name is not valid UTF-8; rename it")
        with self._opened(name) as file:
            header = _header(file, name)
            size = (header.width, header.height)
            self._refuse_leftover(name, size)
            if header.colour.refused:
                raise FileRefused(header.colour.refused)
            placement = place(*size, self.buckets)
            if reason := why_excluded(placement, self.buckets):
                raise FileRefused(f"{size[0]} x {size[1]} px: {reason}")
            box = self.captions.box(name, size)
            repeats, folder_words = self.folders.of(name) if self.folders else (1, "")
            twins = self.copies.of(name, file, (size, repeats)) if self.copies else ()
        caption = self.captions.words(name, folder_words)
        repeats *= self.subset.repeats
        kept = [twin for twin in twins if self._differs(name, twin, caption, box=box)]
        if kept:
            self.alike.append(f"{shown(name)} = {shown(kept[0])}")
        path = self.files.path(name)
        self.found_masks.append(self.masks.read(name, size, placement))
        self.records.append(
            Record(
                name,
                path,
                None if path else name,
                *size,
                caption,
                self.position,
                repeats,
                box=box,
                colour=header.colour.name,
            )
        )
        self.placements.append(placement)
        self._count(name, header)

    def _stems(self) -> frozenset[str]:
        """Names of all pictures without extensions, folded; made when first asked for."""
        if self._folded is None:
            self._folded = frozenset(stem_of(folded(image)) for image in self.images)
        return self._folded

    def _opened(self, name: str) -> IO[bytes]:
        try:
            return self.files.open(name)
        except OSError as error:
            raise FileRefused(f"cannot be read ({error.strerror})") from None

    def _refuse_leftover(self, name: str, size: tuple[int, int]) -> None:
        """Leave out what a tool made of a picture that is here too."""
        found = leftover_of(name, size)
        if found is None:
            return
        if found[0] in self._stems():
            raise LeftOut(found[1])

    def _differs(self, name: str, twin: str, caption: str, *, box: Box | None) -> bool:
        """Whether two equal pictures have other words; one is left out where they have not."""
        index = next((i for i, one in enumerate(self.records) if one.name == twin), None)
        if index is None or self.masks.has_mask(name) or self.masks.has_mask(twin):
            return False
        other = self.records[index]
        if box != other.box:
            return False  # another part of it: on purpose
        reason = "the same picture and caption as {}, byte for byte; {}"
        keep = f"data.subsets.{self.position}.keep_copies=true shows both"
        copied = is_copy_of(name, twin) or is_copy_of(twin, name)  # whose caption was not copied
        if caption == other.caption or (copied and not caption):
            raise LeftOut(reason.format(shown(twin), keep))
        if not copied or other.caption:
            return True
        for kept in (self.records, self.placements, self.found_masks):
            del kept[index]
        self.set_aside.append(SetAside(twin, reason.format(shown(name), keep), spare=True))
        return False

    def _count(self, name: str, header: store.ImageHeader) -> None:
        if header.mode != "RGB":
            self.modes[header.mode] += 1
        if header.mode in GREY_MODES or header.mode.startswith("I"):
            self.greys.append(name)
        if header.colour.name:
            self.colours[header.colour.name] += 1
        if header.colour.problem:
            self.problems.setdefault(header.colour.problem, []).append(shown(name))
        self.num_animated += header.animated

    def finish(self, prefix: str) -> Reading:
        """Turn the counts into notes, and refuse missing captions where that is the policy."""
        self._set_legacy_aside()
        missing = self.captions.num_bare
        if missing and self.subset.missing_caption == "refuse":
            raise SettingsError(
                f"{prefix}: {missing} of {len(self.records)} pictures have no caption; write them, "
                f"or set {prefix}.missing_caption to keep or exclude"
            )
        folders = self.folders
        notes = [*self.files.notes]
        if folders is not None:
            notes += [
                f"folder {shown(folder)}: {count} pictures, repeats and name taken from it"
                for folder, count in sorted(folders.counts.items())
            ] + folders.notes
        notes += [*self.captions.notes(), *self.masks.notes(), *self._image_notes()]
        doubts = [*self.captions.doubts(), *self.masks.doubts, *self._twins()]
        doubts += folders.doubts if folders else []
        repeats = [record.repeats for record in self.records]
        return Reading(
            self.records,
            self.placements,
            repeats,
            self.found_masks,
            self.set_aside,
            notes,
            doubts,
        )

    def _set_legacy_aside(self) -> None:
        reasons = self.captions.in_legacy_encoding()
        for index in reversed(range(len(self.records) if reasons else 0)):
            if reason := reasons.get(self.records[index].name):
                self.set_aside.append(SetAside(self.records[index].name, reason))
                for kept in (self.records, self.placements, self.found_masks):
                    del kept[index]

    def _twins(self) -> list[str]:
        """Grey pictures that are named as others in colour are, as masks and depth maps are."""
        if not self.greys:
            return []
        greys = set(self.greys)
        owns = {_own(record.name) for record in self.records if record.name not in greys}
        twins = [shown(name) for name in self.greys if _own(name) in owns]
        if not twins:
            return []
        return [
            f"grey pictures are named as others in colour are, as masks and depth maps would be "
            f"({len(twins)}): {named(twins)}; put masks into a folder masks, and take out what is "
            "not to be learnt"
        ]

    def _image_notes(self) -> list[str]:
        jsons = {x for x in self.files.names if x.lower().endswith(".json")} - self.captions.used
        if rest := [x for x in jsons if x.rpartition("/")[2] not in _OWN_FILES]:
            self.others[".json"] = len(rest)
        notes = [
            f"{shown(a)} and {shown(b)} differ in upper and lower case only; both are used, but "
            "other systems keep one of them: rename one"
            for a, b in sources.case_conflicts(self.files.names)
        ]
        if self.others:
            kinds = ", ".join(f"{x} ({n})" for x, n in self.others.most_common(8))
            notes.append(f"files that are no pictures were left alone: {shown(kinds)}")
        if self.modes:
            kinds = ", ".join(f"{mode} ({n})" for mode, n in self.modes.most_common())
            notes.append(
                f"pictures converted to 8-bit RGB, transparency laid on the background: {kinds}"
            )
        if self.colours:
            kinds = ", ".join(f"{name} ({n})" for name, n in self.colours.most_common())
            notes.append(f"colours converted to sRGB: {shown(kinds)}")
        for problem, names in self.problems.items():
            notes.append(f"{problem}, so values are taken as sRGB ({len(names)}): {named(names)}")
        if self.num_animated:
            notes.append(f"{self.num_animated} animations: the first frame is used")
        shares = self.captions.shared
        if shared := [x.name for x in self.records if x.caption and stem_of(x.name) in shares]:
            notes.append(
                f"pictures of one name share its caption ({len(shared)}): "
                f"{named([shown(name) for name in shared])}"
            )
        if self.alike:
            notes.append(
                f"pictures that are the same with other captions were kept ({len(self.alike)}): "
                f"{named(self.alike)}"
            )
        if self.copies and self.copies.num_links:
            notes.append(f"{self.copies.num_links} links to pictures count as repeats of them")
        return notes


def _own(name: str) -> str:
    """A picture's name without folders and extension."""
    return folded(stem_of(name).rpartition("/")[2])


def _header(file: IO[bytes], name: str) -> store.ImageHeader:
    """Read a picture's header; where its end is missing, all of it is decoded to be sure."""
    if not file.read(1):
        raise FileRefused("empty file (0 bytes)")
    file.seek(0)
    header = store.image_header(file, name=shown(name))
    if store.looks_cut_short(file, header.format):
        file.seek(0)
        with store.open_image(file, name=shown(name)) as image:
            store.to_rgb(image)
    return header
