"""Small pictures for pages: made once for a content, wherever and under whatever name it lies."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from workbench import store
from workbench.store import FileRefused, shown
from workbench.workspace.folders import Workspace

if TYPE_CHECKING:
    from workbench.data.dataset import Dataset, Record

EDGE_PX = 256
_QUALITY = 75


def picture_thumbnail(workspace: Workspace, path: Path) -> Path:
    """The small version of a picture file.

    Args:
        workspace: where it is kept.
        path: the picture.
    Returns:
        A WebP file of at most 256 x 256 px, named by the picture's content.
    Raises:
        FileRefused: no picture that can be read.
    """
    return _of_file(workspace.thumbnails, path)


def picture_thumbnails(workspace: Workspace, paths: Sequence[Path]) -> list[Path | FileRefused]:
    """The small versions of many picture files, made side by side.

    Args:
        workspace: where they are kept.
        paths: the pictures.
    Returns:
        For each a WebP file, or why there is none.
    """
    folder = workspace.thumbnails

    def one(path: Path) -> Path | FileRefused:
        try:
            return _of_file(folder, path)
        except FileRefused as error:
            return error

    return list(_pool().map(one, paths))


def thumbnail(dataset: "Dataset", record: "Record", *, workspace: Workspace | None = None) -> Path:
    """The small version of a data set's picture, also of one in a zip or drawn world.

    Args:
        dataset: the pictures.
        record: one of them.
        workspace: where it is kept; without one, in the cache.
    Returns:
        A WebP file of at most 256 x 256 px.
    Raises:
        FileRefused: it is gone or damaged since it was indexed.
    """
    folder = workspace.thumbnails if workspace else store.cache_home() / "thumbnails"
    if record.path is not None:
        return _of_file(folder, record.path)
    return _made(folder, dataset.content_hash(record), lambda: dataset.open(record))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Decoders let other threads work meanwhile."""
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="thumbnails")


def _of_file(folder: Path, path: Path) -> Path:
    try:
        status = path.stat()
    except OSError:
        raise FileRefused(f"{shown(path)}: no such file") from None
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    small = _known(folder, path, stamp)
    return small if small.exists() else _made(folder, store.file_hash(path), lambda: _open(path))


@functools.lru_cache(maxsize=20_000)
def _known(folder: Path, path: Path, stamp: tuple[int, int, int, int]) -> Path:
    """A list of pictures is asked for again and again; hashes on disk would cost more."""
    return _place(folder, store.file_hash(path))


def _place(folder: Path, content: str) -> Path:
    # Those made before colours were converted must not be shown again.
    return folder / content[:2] / f"{content}-{store.COLOUR_VERSION}.webp"


def _made(folder: Path, content: str, draw: Callable[[], Image.Image]) -> Path:
    path = _place(folder, content)
    if not path.exists():
        picture = draw()
        picture.thumbnail((EDGE_PX, EDGE_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
        with store.replacing(path) as temporary:
            picture.save(temporary, "WEBP", quality=_QUALITY, method=2)
    return path


def _open(path: Path) -> Image.Image:
    with store.open_image(path) as image:
        # JPEG can be decoded at a fraction of its size, ten times as fast.
        image.draft("RGB", (2 * EDGE_PX, 2 * EDGE_PX))
        return store.to_rgb(image)[0]
