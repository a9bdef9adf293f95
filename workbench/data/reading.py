"""Finding a subset's pictures and captions from names and headers alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench import store
from workbench.critters.concepts import CONCEPTS, PRIOR, write_concept
from workbench.critters.draw import WORLD_SIZES
from workbench.data import sources
from workbench.data.augment import Box
from workbench.data.buckets import BucketSettings, Placement, place, why_excluded
from workbench.data.masks import Mask, MaskReader, MaskSettings
from workbench.data.sources import Files, shown
from workbench.data.subsets import (
    WORLD,
    Computed,
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


@dataclass(slots=True)
class Reading:
    """What one subset holds."""

    records: Sequence[Record] = field(default_factory=list)
    placements: Sequence[Placement] = field(default_factory=list)
    repeats: Sequence[int] = field(default_factory=list)  # apart, since drawn records cost time
    masks: Sequence[Mask | None] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_subset(
    subset: Subset,
    position: int,
    buckets: BucketSettings,
    *,
    masks: MaskSettings,
) -> Reading:
    """Find a subset's pictures and captions from names and headers alone; masks are decoded.

    Args:
        subset: what to read.
        position: of the subset in the recipe, for errors.
        buckets: sizes to place the pictures at.
        masks: where masks come from.
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
    path = _source(subset.path, setting=f"{prefix}.path")
    files = sources.open_files(path, setting=f"{prefix}.path", recursive=subset.recursive)
    whole = path.resolve()
    root_name = whole.stem if whole.is_file() else whole.name
    reader = _Reader(
        subset,
        position,
        buckets,
        captions=_Captions(subset, files, root_name),
        masks=MaskReader(masks, files),
    )
    for name in files.names:
        reader.take(name)
    return reader.finish(prefix)


def _source(path: str, *, setting: str) -> Path:
    """The folder or archive that a path means; a concept of the embedded world is drawn first."""
    world, colon, name = path.partition(":")
    if (world, colon) != ("critters", ":"):
        return Path(path).expanduser()
    if name not in (*CONCEPTS, PRIOR):
        known = ", ".join(f"critters:{concept}" for concept in (*CONCEPTS, PRIOR))
        raise SettingsError(f"{setting} must be a folder, a .zip, {WORLD} or {known}; got {path!r}")
    folder = store.cache_home() / "concepts" / name
    _write_once(name, folder)
    return folder


_written: dict[Path, list[Path]] = {}


def _write_once(name: str, folder: Path) -> None:
    """Draw a concept unless this process did so: it takes nearly a second."""
    if folder not in _written or not all(path.is_file() for path in _written[folder]):
        _written[folder] = write_concept(name, folder)


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


class _Captions:
    """Finds the words of a picture, and counts those that have none."""

    def __init__(self, subset: Subset, files: Files, root_name: str) -> None:
        self.subset, self.files, self.root_name = subset, files, root_name
        self.names = set(files.names)
        self.listed: dict[str, sources.Listed] = {}
        self.folders: Counter[str] = Counter()
        self.without: Counter[str] = Counter()  # what became of pictures without a caption
        self.num_several = self.num_bare = 0
        if subset.captions_from in ("auto", "metadata"):
            for name in files.names:
                if name.rpartition("/")[2] in sources.METADATA_NAMES:
                    self.listed |= sources.metadata(files, name)

    def repeats(self, name: str) -> tuple[int, str]:
        """Repeats and words of the nearest folder named `10_name`; 1 and "" without one."""
        if self.subset.kohya_folders:
            for folder in (*reversed(name.split("/")[:-1]), self.root_name):
                if found := sources.kohya_folder(folder):
                    self.folders[folder] += 1
                    return found
        return 1, ""

    def words(self, name: str, folder_words: str) -> str:
        """The caption, with the policy applied where there is none."""
        if caption := self._written(name):
            return caption
        if folder_words:
            self.without["shown with their folder's name"] += 1
        elif self.subset.missing_caption == "exclude":
            self.without["set aside"] += 1
            raise FileRefused("it has no caption, and missing_caption is exclude")
        else:
            word = "class word" if self.subset.is_prior else "trigger"
            self.without[f"shown with their {word} alone"] += 1
            self.num_bare += 1
        return folder_words

    def _written(self, name: str) -> str:
        """What a caption file or the metadata says of a picture."""
        if self.subset.captions_from in ("auto", "files"):
            stem = name[: -len(Path(name).suffix)]
            found = [stem + x for x in sources.CAPTION_EXTENSIONS if stem + x in self.names]
            listed = name in self.listed and self.listed[name].caption
            self.num_several += len(found) > 1 or bool(found and listed)
            if found:
                with self.files.open(found[0]) as file:
                    data = file.read()
                try:
                    return sources.decode_caption(data)
                except ValueError as error:
                    raise FileRefused(f"its caption {shown(found[0])} {error}") from None
        return self.listed[name].caption if name in self.listed else ""

    def box(self, name: str, size: tuple[int, int]) -> Box | None:
        """What a crop should hold: from the metadata, else from a file name as kohya writes it."""
        listed = self.listed[name].box if name in self.listed else None
        box = listed or sources.kohya_box(name)
        if box is None or _overlaps(box, size):
            return box
        if listed is None:
            return None  # four numbers that mean something else
        numbers = ", ".join(f"{number:g}" for number in listed)
        raise FileRefused(f"its box ({numbers}) lies outside its {size[0]} x {size[1]} px")

    def notes(self) -> list[str]:
        """What the user should know about the captions."""
        notes = [
            f"folder {shown(folder)}: {count} pictures, repeats and name taken from it"
            for folder, count in sorted(self.folders.items())
        ]
        if self.without:
            what = ", ".join(f"{count} {fate}" for fate, count in self.without.items())
            notes.append(f"{self.without.total()} pictures without a caption: {what}")
        if self.num_several:
            notes.append(
                f"{self.num_several} pictures have several captions; .txt is read before .caption "
                "and both before metadata"
            )
        return notes


def _overlaps(box: Box, size: tuple[int, int]) -> bool:
    sides = zip(box[:2], box[2:], size, strict=True)
    return all(start < length and start + extent > 0 for start, extent, length in sides)


class _Reader:
    """Goes through the files of one subset, one name at a time."""

    def __init__(
        self,
        subset: Subset,
        position: int,
        buckets: BucketSettings,
        *,
        captions: _Captions,
        masks: MaskReader,
    ) -> None:
        self.subset, self.position, self.buckets = subset, position, buckets
        self.captions, self.masks, self.files = captions, masks, captions.files
        self.records: list[Record] = []
        self.placements: list[Placement] = []
        self.found_masks: list[Mask | None] = []
        self.others: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.num_animated = 0
        self.set_aside = [
            SetAside(name, "listed in the metadata, but there is no such file")
            for name in sorted(self.captions.listed.keys() - self.captions.names)
        ] + masks.set_aside()

    def take(self, name: str) -> None:
        """Use one file, set it aside, or count it as something else than a picture."""
        if self.masks.is_mask(name):
            return
        suffix = Path(name).suffix.lower()
        if suffix not in store.IMAGE_EXTENSIONS:
            known = suffix in sources.CAPTION_EXTENSIONS
            if not known and name.rpartition("/")[2] not in _OWN_FILES:
                self.others[suffix or "no extension"] += 1
            return
        try:
            self._take_image(name)
        except FileRefused as error:
            # store names the file first; set-aside files stand under their name already.
            reason = str(error).removeprefix(f"{shown(name)}: ").removeprefix("image: ")
            self.set_aside.append(SetAside(name, reason))

    def _take_image(self, name: str) -> None:
        if any("\udc80" <= letter <= "\udcff" for letter in name):
            raise FileRefused("its name is not valid UTF-8; rename it")
        header = self._header(name)
        size = (header.width, header.height)
        placement = place(*size, self.buckets)
        if reason := why_excluded(placement, self.buckets):
            raise FileRefused(f"{size[0]} x {size[1]} px: {reason}")
        box = self.captions.box(name, size)
        repeats, folder_words = self.captions.repeats(name)
        caption = self.captions.words(name, folder_words)
        path = self.files.path(name)
        member = None if path else name
        repeats *= self.subset.repeats
        self.found_masks.append(self.masks.read(name, size, placement))
        self.records.append(
            Record(name, path, member, *size, caption, self.position, repeats, box=box)
        )
        self.placements.append(placement)
        if header.mode != "RGB":
            self.modes[header.mode] += 1
        self.num_animated += header.animated

    def _header(self, name: str) -> store.ImageHeader:
        if name.lower().endswith((".heic", ".heif", ".avif")):
            raise FileRefused("no decoder for this format is used; save it as PNG or JPEG")
        try:
            file = self.files.open(name)
        except OSError as error:
            raise FileRefused(f"cannot be read ({error.strerror})") from None
        with file:
            if not file.read(1):
                raise FileRefused("empty file (0 bytes)")
            file.seek(0)
            header = store.image_header(file, name=shown(name))
            if sources.looks_cut_short(file, header.format):
                file.seek(0)
                with store.open_image(file, name=shown(name)) as image:
                    store.to_rgb(image)
        return header

    def finish(self, prefix: str) -> Reading:
        """Turn the counts into notes, and refuse missing captions where that is the policy."""
        missing = self.captions.num_bare
        if missing and self.subset.missing_caption == "refuse":
            raise SettingsError(
                f"{prefix}: {missing} of {len(self.records)} pictures have no caption; write them, "
                f"or set {prefix}.missing_caption to keep or exclude"
            )
        notes = [*self.files.notes, *self.captions.notes(), *self.masks.notes()]
        notes += self._image_notes()
        repeats = [record.repeats for record in self.records]
        return Reading(
            self.records, self.placements, repeats, self.found_masks, self.set_aside, notes
        )

    def _image_notes(self) -> list[str]:
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
            notes.append(f"pictures converted to 8-bit RGB, transparency laid on white: {kinds}")
        if self.num_animated:
            notes.append(f"{self.num_animated} animations: the first frame is used")
        return notes
