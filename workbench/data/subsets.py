"""One source of pictures: its settings, its records, and the world that is drawn on the fly."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar, overload

from pydantic import model_validator

from workbench.critters.attributes import caption as critter_caption
from workbench.critters.draw import plan
from workbench.data.augment import Box
from workbench.settings import Settings, setting
from workbench.store import FileRefused

__all__ = [
    "WORLD",
    "Computed",
    "LeftOut",
    "Record",
    "SetAside",
    "Subset",
    "world_length",
    "world_record",
]

WORLD = "critters:world"
T = TypeVar("T")


class Subset(Settings):
    """One source of pictures and how often and with which words they are shown."""

    path: str = setting(
        help="folder, .zip, critters:character (style, place), or critters:world without end",
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
    description: str | None = setting(
        None,
        min_length=1,
        help="the concept in words that the base knows: `choose` asks the base for them in the "
        "trigger's place",
    )
    is_prior: bool = setting(
        False,
        help="ordinary pictures of the class, shown so that it keeps its look: no trigger, their "
        "own captions or else the class word, never held out",
    )
    loss_weight: float = setting(
        1.0, gt=0, le=100, help="how much each of its pictures counts; lambda for those of a prior"
    )
    recursive: bool = setting(True, help="enter the folders inside")
    captions_from: Literal["auto", "files", "metadata", "none"] = setting(
        "auto",
        help="auto reads .txt or .caption beside the picture, else metadata.jsonl or .csv, or the "
        "JSON of sd-scripts, ai-toolkit and others",
    )
    missing_caption: Literal["keep", "exclude", "refuse"] = setting(
        "keep",
        help="for pictures without words: keep them (the trigger alone), exclude them, or refuse",
    )
    kohya_folders: bool = setting(
        True, help="read folders named `10_name` as 10 repeats, the name as caption of last resort"
    )
    keep_copies: bool = setting(
        False, help="show exact copies with the same caption too; else one of them is left out"
    )
    num_images: int | None = setting(
        None, ge=1, help="length of an epoch of critters:world; every epoch draws new pictures"
    )
    seed: int = setting(0, ge=0, help="which world critters:world draws")

    @model_validator(mode="after")
    def _prior_has_no_trigger(self) -> "Subset":
        if self.is_prior and self.trigger is not None:
            raise ValueError(
                f"trigger must be absent where is_prior is true, got {self.trigger!r}: it would "
                "teach ordinary pictures under the concept's word; name a class_word instead"
            )
        return self


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
    box: Box | None = field(default=None, repr=False)  # what a crop should hold: a face, an object
    colour: str = field(default="", repr=False)  # space that is converted to sRGB; "": none


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that is not used, and why."""

    name: str
    reason: str
    spare: bool = False  # on purpose: a copy, a thumbnail, 0 repeats; nothing of worth is lost


class LeftOut(FileRefused):
    """A picture that is not shown on purpose."""


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
    """Say how many pictures one epoch of a drawn world has.

    Args:
        subset: whose path is critters:world.
    Returns:
        `num_images`, 10,000 where it is left out.
    """
    return subset.num_images or 10_000


def world_record(subset: Subset, position: int, *, number: int, size: tuple[int, int]) -> Record:
    """Describe one picture of a drawn world without drawing it.

    Args:
        subset: whose path is critters:world.
        position: of the subset in the recipe.
        number: which picture of the world.
        size: width and height, px.
    Returns:
        Its record.
    """
    attributes, *_ = plan(subset.seed, number, (size,))
    name, words = f"world-{number:07d}", critter_caption(attributes)
    return Record(name, None, None, *size, words, position, subset.repeats, number)
