"""One source of pictures: its settings, and how it becomes records."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload

from workbench import store
from workbench.critters.attributes import caption as critter_caption
from workbench.critters.draw import WORLD_SIZES, plan
from workbench.data import sources
from workbench.data.buckets import BucketSettings, Placement, place, why_excluded
from workbench.data.sources import Files, shown
from workbench.settings import Settings, SettingsError, setting
from workbench.store import FileRefused

__all__ = ["WORLD", "Computed", "Reading", "Record", "SetAside", "Subset", "read_subset"]

WORLD = "critters:world"
T = TypeVar("T")


class Subset(Settings):
    """One source of pictures and how often and with which words they are shown."""

    path: str = setting(
        help="folder, .zip, or critters:world for pictures drawn on the fly",
        min_length=1,
        basic=True,
    )
    repeats: int = setting(
        1, ge=1, help="times each picture is shown in an epoch; a folder `10_name` multiplies it"
    )
    trigger: str | None = setting(
        None, min_length=1, basic=True, help="word put first in every caption, to call the concept"
    )
    class_word: str | None = setting(
        None, min_length=1, help="word put after the trigger: what kind of thing it is"
    )
    recursive: bool = setting(True, help="enter the folders inside")
    captions_from: Literal["auto", "files", "metadata", "none"] = setting(
        "auto",
        help="auto reads .txt or .caption beside the picture, else metadata.jsonl or .csv",
    )
    missing_caption: Literal["keep", "exclude", "refuse"] = setting(
        "keep",
        help="for pictures without words: keep them (the trigger alone), exclude them, or refuse",
    )
    kohya_folders: bool = setting(
        True, help="read folders named `10_name` as 10 repeats, the name as caption of last resort"
    )
    num_images: int | None = setting(
        None, ge=1, help="length of an epoch of critters:world; every epoch draws new pictures"
    )
    seed: int = setting(0, ge=0, help="which world critters:world draws")


@dataclass(frozen=True, slots=True)
class Record:
    """One picture: where it is, how large, and its words."""

    name: str  # relative to its subset
    path: Path | None  # None in a zip or a drawn world
    member: str | None  # name inside the subset's zip
    width: int  # px, upright
    height: int
    caption: str
    subset: int
    repeats: int
    number: int | None = None  # in a drawn world


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that is not used, and why."""

    name: str
    reason: str


class Computed(Sequence[T], Generic[T]):
    """A sequence whose items are made when asked for, so that a drawn world costs no memory."""

    def __init__(self, length: int, make: Callable[[int], T]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._length))]
        return self._make(range(self._length)[index])

    def __iter__(self) -> Iterator[T]:
        return map(self._make, range(self._length))


def world_length(subset: Subset) -> int:
    """Pictures in one epoch of a drawn world."""
    return subset.num_images or 10_000


def world_record(subset: Subset, position: int, number: int, size: tuple[int, int]) -> Record:
    """The record of one picture of a drawn world, without drawing it."""
    attributes, *_ = plan(subset.seed, number, (size,))
    name, words = f"world-{number:07d}", critter_caption(attributes)
    return Record(name, None, None, *size, words, position, subset.repeats, number)


@dataclass(slots=True)
class Reading:
    """What one subset holds."""

    records: Sequence[Record] = field(default_factory=list)
    placements: Sequence[Placement] = field(default_factory=list)
    repeats: Sequence[int] = field(default_factory=list)  # apart, since drawn records cost time
    set_aside: list[SetAside] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_subset(subset: Subset, position: int, buckets: BucketSettings) -> Reading:
    """Find a subset's pictures and captions from names and headers alone.

    Args:
        subset: what to read.
        position: of the subset in the recipe, for errors.
        buckets: sizes to place the pictures at.
    Returns:
        Its records; files that cannot be used are set aside.
    Raises:
        SettingsError: no such source, or captions are missing and `missing_caption` refuses.
        FileRefused: a dangerous zip or damaged metadata.
    """
    if subset.path.startswith("critters:"):
        return _read_world(subset, position, buckets)
    prefix = f"data.subsets.{position}"
    if subset.num_images is not None:
        raise SettingsError(
            f"{prefix}.num_images is for {WORLD} alone, got {subset.num_images}; leave it out"
        )
    path = Path(subset.path).expanduser()
    files = sources.open_files(path, setting=f"{prefix}.path", recursive=subset.recursive)
    reader = _Reader(subset, position, buckets, files=files, root_name=path.resolve().name)
    for name in files.names:
        reader.take(name)
    return reader.finish(prefix)


def _read_world(subset: Subset, position: int, buckets: BucketSettings) -> Reading:
    if subset.path != WORLD:
        raise SettingsError(
            f"data.subsets.{position}.path must be a folder, a .zip file or {WORLD}, "
            f"got {subset.path!r}"
        )
    # Sizes take turns, so that a picture's size is known without drawing or planning it.
    sizes = WORLD_SIZES
    placements = [place(*size, buckets) for size in sizes]
    count = world_length(subset)

    def record(index: int) -> Record:
        return world_record(subset, position, index, sizes[index % len(sizes)])

    return Reading(
        Computed(count, record),
        Computed(count, lambda index: placements[index % len(placements)]),
        Computed(count, lambda index: subset.repeats),
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
        root_name: str,
    ) -> None:
        self.subset, self.position, self.buckets, self.files = subset, position, buckets, files
        self.root_name = root_name
        self.names = set(files.names)
        self.records: list[Record] = []
        self.placements: list[Placement] = []
        self.set_aside: list[SetAside] = []
        self.kohya: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.num_animated = self.num_missing = self.num_empty = self.num_two = 0
        self.listed = self._metadata()

    def _metadata(self) -> dict[str, str]:
        listed: dict[str, str] = {}
        if self.subset.captions_from in ("auto", "metadata"):
            for name in self.files.names:
                if name.rpartition("/")[2] in sources.METADATA_NAMES:
                    listed |= sources.metadata_captions(self.files, name)
        for name in sorted(listed.keys() - self.names):
            self.set_aside.append(
                SetAside(name, "listed in the metadata, but there is no such file")
            )
        return listed

    def take(self, name: str) -> None:
        """Use one file, set it aside, or count it as something else than a picture."""
        suffix = Path(name).suffix.lower()
        if suffix not in store.IMAGE_EXTENSIONS:
            known = suffix in sources.CAPTION_EXTENSIONS
            if not known and name.rpartition("/")[2] not in sources.METADATA_NAMES:
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
        placement = place(header.width, header.height, self.buckets)
        if reason := why_excluded(placement, self.buckets):
            raise FileRefused(f"{header.width} x {header.height} px: {reason}")
        folder, repeats = self._kohya(name)
        caption = self._caption(name)
        if not caption:
            self.num_missing += caption is None
            self.num_empty += caption is not None
            caption = folder or ""
            if not caption and self.subset.missing_caption == "exclude":
                raise FileRefused("it has no caption, and missing_caption is exclude")
        path = self.files.path(name)
        self.records.append(
            Record(
                name,
                path,
                None if path else name,
                header.width,
                header.height,
                caption,
                self.position,
                self.subset.repeats * repeats,
            )
        )
        self.placements.append(placement)
        if header.mode != "RGB":
            self.modes[header.mode] += 1
        self.num_animated += header.animated

    def _header(self, name: str) -> store.ImageHeader:
        if name.lower().endswith((".heic", ".heif", ".avif")):
            raise FileRefused("no decoder for this format is installed; save it as PNG or JPEG")
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

    def _caption(self, name: str) -> str | None:
        """Words of the image; None where nothing names any."""
        source = self.subset.captions_from
        if source in ("auto", "files"):
            stem = name[: -len(Path(name).suffix)]
            found = [stem + x for x in sources.CAPTION_EXTENSIONS if stem + x in self.names]
            self.num_two += len(found) > 1 or bool(found and name in self.listed)
            if found:
                with self.files.open(found[0]) as file:
                    try:
                        return sources.decode_caption(file.read())
                    except ValueError as error:
                        raise FileRefused(f"its caption {shown(found[0])} {error}") from None
        return self.listed.get(name)

    def _kohya(self, name: str) -> tuple[str | None, int]:
        """Words and repeats of the nearest folder named `10_name`."""
        if not self.subset.kohya_folders:
            return None, 1
        for folder in (*reversed(name.split("/")[:-1]), self.root_name):
            if found := sources.kohya_folder(folder):
                self.kohya[folder] += 1
                return found[1], found[0]
        return None, 1

    def finish(self, prefix: str) -> Reading:
        """Turn the counts into notes, and apply the policy on captions."""
        missing = self.num_missing + self.num_empty
        policy = self.subset.missing_caption
        if missing and policy == "refuse":
            raise SettingsError(
                f"{prefix}: {missing} of {len(self.records)} pictures have no caption; write them, "
                f"or set {prefix}.missing_caption to keep or exclude"
            )
        notes = [
            *self.files.notes,
            *(
                f"folder {shown(folder)}: {count} pictures, repeats and name taken from it"
                for folder, count in sorted(self.kohya.items())
            ),
            *(
                f"{shown(a)} and {shown(b)} differ in upper and lower case only; both are used, "
                "but other systems keep one of them: rename one"
                for a, b in sources.case_conflicts(self.files.names)
            ),
        ]
        if missing:
            last = "their folder's name" if self.kohya else "their trigger alone"
            what = "set aside" if policy == "exclude" and not self.kohya else f"shown with {last}"
            notes.append(
                f"{self.num_missing} pictures without and {self.num_empty} with an empty caption, "
                f"{what}"
            )
        if self.num_two:
            notes.append(
                f"{self.num_two} pictures have several captions; .txt is read before .caption and "
                "both before metadata"
            )
        if self.others:
            kinds = ", ".join(f"{x} ({n})" for x, n in self.others.most_common(8))
            notes.append(f"files that are no pictures were left alone: {shown(kinds)}")
        if self.modes:
            kinds = ", ".join(f"{mode} ({n})" for mode, n in self.modes.most_common())
            notes.append(f"pictures converted to 8-bit RGB, transparency laid on white: {kinds}")
        if self.num_animated:
            notes.append(f"{self.num_animated} animations: the first frame is used")
        repeats = [record.repeats for record in self.records]
        return Reading(self.records, self.placements, repeats, self.set_aside, notes)
