"""A model comes into the workspace: whole and looked at, or not at all."""

import queue
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import store
from workbench.settings import SettingsError
from workbench.workspace.folders import Workspace
from workbench.workspace.hub import Found, explain, hidden

SPARE_BYTES = 1 << 30  # of the disk, for runs
_BEAT_S = 0.5


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far it is.

    Attributes:
        done: bytes that are here.
        total: bytes in all; None where the server does not tell.
        path: the model, once it is in place; None before.
    """

    done: int
    total: int | None
    path: Path | None = None


class Cancelled(Exception):
    """Nobody waits for the file any more."""


def fetch(workspace: Workspace, found: Found, *, token: str | None = None) -> Iterator[Fetched]:
    """Fetch a model; leaving the loop early ends it, and the next time goes on from there.

    Args:
        workspace: where it is kept.
        found: of `hub.look_up`.
        token: as there.
    Yields:
        How far it is, about twice a second; the last one names its place.
    Raises:
        SettingsError: no access, no network, or no room on the disk.
        FileRefused: what came is no sound safetensors file.
    """
    if found.is_here:
        yield Fetched(found.num_bytes or 0, found.num_bytes, found.target)
        return
    require_room(workspace, found.num_bytes)
    if found.kind == "url":
        from workbench.workspace.direct import fetch_address

        yield from fetch_address(workspace, found, token=token)
    else:
        yield from _from_hub(found, token)
    yield Fetched(found.num_bytes or 0, found.num_bytes, found.target)


def require_room(workspace: Workspace, num_bytes: int | None) -> None:
    """Refuse what the disk cannot hold.

    Args:
        workspace: where it would lie.
        num_bytes: its size; None where it is not known.
    Raises:
        SettingsError: too large.
    """
    room = store.free_bytes(workspace.models) - SPARE_BYTES
    if (num_bytes or 0) > room:
        raise SettingsError(
            f"the disk has room for {max(0, room):,} bytes more ({SPARE_BYTES:,} stay free for "
            f"runs), got a model of {num_bytes:,}; delete models or runs that are no longer needed"
        )


def _from_hub(found: Found, token: str | None) -> Iterator[Fetched]:
    """The files of a repository one after the other; those that are whole are not fetched again."""
    from huggingface_hub import hf_hub_download

    folder, before = hidden(found.target), 0
    folder = folder.with_suffix("") if found.kind == "file" else folder
    for name, size in found.files:
        counter = _Counter()

        def download(name: str = name, counter: "_Counter" = counter) -> Path:
            path = hf_hub_download(
                found.name,
                name,
                revision=found.revision or None,
                local_dir=folder,
                token=token,
                tqdm_class=counter.bar(),
            )
            return Path(path)

        for done in _followed(download, counter, found.name, token):
            yield Fetched(before + done, found.num_bytes)
        before += size or 0
        if name.endswith(".safetensors"):
            _look(folder / name)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's notes
    if found.kind == "repository":
        store.patiently(lambda: folder.rename(found.target))
    else:
        store.patiently(lambda: (folder / found.files[0][0]).rename(found.target))
        shutil.rmtree(folder)


def _look(path: Path) -> None:
    """Refuse a damaged file, and do not keep it: the next time it is fetched anew."""
    try:
        store.read_header(path)
    except store.FileRefused:
        path.unlink()
        raise


def _followed(
    download: Any, counter: "_Counter", repository: str, token: str | None
) -> Iterator[int]:
    """Run a download in a thread and look how far it is."""
    outcome: queue.Queue[Exception | None] = queue.Queue()

    def run() -> None:
        try:
            download()
            outcome.put(None)
        except Exception as error:  # handed to the thread that waits, which raises it in its words
            outcome.put(error)

    threading.Thread(target=run, name="fetching", daemon=True).start()
    try:
        while True:
            try:
                error = outcome.get(timeout=_BEAT_S)
            except queue.Empty:
                yield counter.done
                continue
            if error is not None:
                raise explain(repository, error, token) from None
            return
    finally:
        counter.cancelled = True


class _Counter:
    """Counts the bytes of one file, and ends its download when nobody waits for it."""

    def __init__(self) -> None:
        self.done = 0
        self.cancelled = False

    def bar(self) -> type:
        """A progress bar for the Hub's client that draws nothing."""
        from tqdm import tqdm

        counter = self

        class Bar(tqdm):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                options.pop("name", None)
                super().__init__(*arguments, **options | {"disable": True})

            def update(self, n: float | None = 1) -> None:
                counter.done += int(n or 0)
                if counter.cancelled:
                    raise Cancelled

        return Bar
