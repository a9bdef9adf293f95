"""Changing the captions of a whole folder: planned first, then written, with the old ones kept.

Originals go to `.captions/<time>/` inside the folder, byte for byte, before a caption is written.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from workbench import store
from workbench.data.dataset import Dataset
from workbench.data.names import CaptionPlaces, is_caption_name
from workbench.data.subsets import Record
from workbench.data.tags import Mode, edit_caption, join_caption
from workbench.store import FileRefused

__all__ = [
    "Change",
    "Edit",
    "Keeper",
    "apply",
    "editable",
    "plan_caption",
    "plan_edit",
    "plan_reading",
    "restore",
    "take_back",
]

KEPT = ".captions"  # hidden, so that no dataset takes it for pictures
INDEX = "kept.json"


@dataclass(frozen=True, slots=True)
class Change:
    """A caption file before and after an edit."""

    name: str
    path: Path
    before: str
    after: str


def plan_caption(dataset: Dataset, record: Record, text: str) -> list[Change]:
    """Say what a new caption of one picture would write.

    Args:
        dataset: that holds it.
        record: of the picture, which lies in a folder.
        text: the new caption.
    Returns:
        One change; none where the caption stays as it is.
    Raises:
        FileRefused: the picture lies in a zip or is drawn.
    """
    change = _change(dataset, record, "\n".join(text.strip().splitlines()))
    return [change] if change.before != change.after else []


def plan_edit(
    dataset: Dataset,
    *,
    rename: Mapping[str, str] | None = None,
    remove: Iterable[str] = (),
    prepend: Sequence[str] = (),
    append: Sequence[str] = (),
) -> list[Change]:
    """Say what an edit of all captions would write, so that it can be looked at first.

    Args:
        dataset: pictures in folders.
        rename: see `edit_caption`.
        remove: see `edit_caption`.
        prepend: see `edit_caption`.
        append: see `edit_caption`.
    Returns:
        Changes; captions that stay as they are are left out.
    Raises:
        FileRefused: a picture lies in a zip or is drawn, so that there is no place beside it.
    """
    remove = tuple(remove)
    settings, places = dataset.settings.captions, CaptionPlaces()
    changes = [
        _change(
            dataset,
            record,
            edit_caption(
                record.caption,
                settings,
                rename=rename,
                remove=remove,
                prepend=prepend,
                append=append,
            ),
            places,
        )
        for record in dataset.records
    ]
    return [change for change in changes if change.before != change.after]


def plan_reading(
    dataset: Dataset,
    read: Callable[[list[Image.Image]], list[list[str]]],
    *,
    mode: Mode = "missing",
    batch_size: int = 8,
    exclude: Iterable[str] = (),
    prepend: Sequence[str] = (),
) -> Iterator[tuple[int, int, list[Change]]]:
    """Let a model read the pictures, and say what their captions would become.

    Args:
        dataset: pictures in folders.
        read: at most `batch_size` pictures to what the model says of each.
        mode: see `join_caption`; "missing" reads only pictures without a caption.
        batch_size: pictures read at once.
        exclude: tags that are never written.
        prepend: tags to put first in what is changed, for example a trigger.
    Yields:
        Pictures read, pictures to read, and the changes of the latest batch, as soon as they are
        known; write them there and then, so that an interrupted reading keeps what it has.
    Raises:
        FileRefused: a picture is damaged, or there is no place beside it.
    """
    settings, exclude = dataset.settings.captions, tuple(exclude)
    wanted = [x for x in dataset.records if mode != "missing" or not x.caption.strip()]
    places = CaptionPlaces()
    for record in wanted:
        _place(dataset, record, places)  # refused before the work, not after it
    yield 0, len(wanted), []
    for start in range(0, len(wanted), batch_size):
        batch = wanted[start : start + batch_size]
        changes = []
        found = read([dataset.open(record) for record in batch])
        for record, texts in zip(batch, found, strict=True):
            after = join_caption(record.caption, texts, settings, mode=mode, exclude=exclude)
            if after and prepend:
                after = edit_caption(after, settings, prepend=prepend)
            # A model that sees nothing leaves the caption alone, whatever the mode.
            changes.append(_change(dataset, record, after or record.caption, places))
        done = min(start + batch_size, len(wanted))
        yield done, len(wanted), [x for x in changes if x.before != x.after]


def _change(
    dataset: Dataset, record: Record, after: str, places: CaptionPlaces | None = None
) -> Change:
    return Change(record.name, _place(dataset, record, places), record.caption, after)


def _place(dataset: Dataset, record: Record, places: CaptionPlaces | None = None) -> Path:
    """The file that a picture's caption is written to."""
    if record.path is None or not _is_folder(dataset, record.subset):
        raise FileRefused(
            f"{dataset.label(record)}: captions in a zip or a drawn world cannot be edited; "
            "unpack the zip, or copy the pictures, and name that folder"
        )
    # A caption from metadata gets a file of its own, which is read first from then on.
    return (places or CaptionPlaces()).of(record.path)


def _is_folder(dataset: Dataset, subset: int) -> bool:
    """Whether a subset is a folder of the user's own: no zip, and nothing that is drawn."""
    path = dataset.settings.subsets[subset].path
    return not path.startswith("critters:") and Path(path).expanduser().is_dir()


def editable(dataset: Dataset) -> Dataset:
    """The pictures whose captions can be edited.

    Args:
        dataset: pictures of any source.
    Returns:
        A view for `plan_edit` and `plan_reading` that holds the records of folders alone; its
        indices are its own.
    """
    own = [place for place in range(len(dataset.settings.subsets)) if _is_folder(dataset, place)]
    kept = [x for x in dataset.records if x.subset in own] if own else []
    view = copy.copy(dataset)
    view.records = kept
    return view


class Edit:
    """One edit of the captions of several folders, which is taken back as a whole.

    Args:
        dataset: whose captions are edited.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._roots, self._now = _roots(dataset), time.time()
        self._keepers: dict[Path, Keeper] = {}

    def write(self, changes: Iterable[Change]) -> int:
        """Write changed captions; see `apply`.

        Args:
            changes: of captions in the dataset's folders.
        Returns:
            Number of files written.
        """
        written = 0
        for change in changes:
            root = next(root for root in self._roots if change.path.is_relative_to(root))
            if root not in self._keepers:
                self._keepers[root] = Keeper(root, now=self._now)
            written += apply([change], self._keepers[root])
        return written


def take_back(dataset: Dataset) -> int:
    """Take back the latest edit of a dataset's captions, in all folders that it touched.

    Args:
        dataset: whose captions were edited.
    Returns:
        Number of captions put back.
    Raises:
        FileRefused: no edit was kept, or see `restore`.
    """
    kept = {root: _kept(root) for root in _roots(dataset)}
    latest = {root: found[-1].parent.name for root, found in kept.items() if found}
    if not latest:
        raise FileRefused("no edit of these captions was kept, so there is nothing to take back")
    newest = max(latest.values(), key=_order)
    return sum(restore(root)[1] for root, name in latest.items() if name == newest)


def _roots(dataset: Dataset) -> list[Path]:
    """The folders whose captions can be edited, the inner before the outer."""
    own = [place for place in range(len(dataset.settings.subsets)) if _is_folder(dataset, place)]
    roots = {Path(dataset.settings.subsets[place].path).expanduser() for place in own}
    return sorted(roots, key=lambda root: len(root.parts), reverse=True)


def _kept(root: Path) -> list[Path]:
    """What lists the captions of each kept edit, the latest last."""
    return sorted((root / KEPT).glob(f"*/{INDEX}"), key=lambda path: _order(path.parent.name))


class Keeper:
    """Keeps the captions that are about to be written over, one folder for each use.

    Args:
        root: the dataset's folder.
        now: seconds since the epoch that name the folder; the clock's when left out.
    """

    def __init__(self, root: str | Path, *, now: float | None = None) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
        folder = Path(root).expanduser() / KEPT
        names = (stamp, *(f"{stamp}-{count}" for count in range(2, 1000)))
        self.root = folder.parent
        self.folder = next(folder / name for name in names if not (folder / name).exists())
        self._kept: dict[str, bool] = {}  # caption file -> whether it was there before

    def keep(self, path: Path) -> None:
        """Copy a caption file, or note that there is none, before it is written.

        Args:
            path: inside the root.
        """
        name = path.relative_to(self.root).as_posix()
        if name in self._kept:
            return
        self._kept[name] = path.exists()
        if path.exists():
            store.write_bytes(self.folder / name, path.read_bytes())
        store.write_json(self.folder / INDEX, self._kept)


def apply(changes: Iterable[Change], keeper: Keeper) -> int:
    """Write changed captions, each file whole or not at all, the old ones kept first.

    Args:
        changes: from `plan_edit` or `plan_reading`.
        keeper: of the dataset's folder.
    Returns:
        Number of files written.
    """
    written = 0
    for change in changes:
        keeper.keep(change.path)
        store.write_text(change.path, change.after + "\n")
        written += 1
    return written


def restore(root: str | Path) -> tuple[Path, int]:
    """Take back the latest edit: put the kept captions back, remove those that were new.

    Args:
        root: the dataset's folder.
    Returns:
        The folder of kept captions, which is gone now, and the number of captions put back.
    Raises:
        FileRefused: nothing was kept, or the list of what was kept is damaged.
    """
    root = Path(root).expanduser()
    kept = _kept(root)
    if not kept:
        raise FileRefused(f"{store.shown(root / KEPT)}: no edit of these captions was kept")
    folder, index = kept[-1].parent, store.read_json(kept[-1])
    if not isinstance(index, dict) or any(_leaves(name) for name in index):
        raise FileRefused(f"{store.shown(kept[-1])}: not a list of captions of this folder")
    for name, existed in index.items():
        if existed:
            store.write_bytes(root / name, (folder / name).read_bytes())
        else:
            (root / name).unlink(missing_ok=True)
    for name in index:
        (folder / name).unlink(missing_ok=True)
    kept[-1].unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()
    return folder, len(index)


def _order(name: str) -> tuple[str, int]:
    """Day and time, then the count of those of the same second."""
    day, time_, *count = name.split("-")
    return f"{day}-{time_}", int(count[0]) if count else 1


def _leaves(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or not is_caption_name(name)
