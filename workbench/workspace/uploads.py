"""Files that arrive in pieces: they go on after a broken line, and are in place whole or not.

A part lies in data/.parts until its last byte is there and its content was looked at.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench import store
from workbench.records.lock import one_at_a_time
from workbench.store import FileRefused, shown
from workbench.workspace.folders import Workspace
from workbench.workspace.intake import (
    MAX_METADATA_BYTES,
    MAX_TEXT_BYTES,
    TEXTS,
    Limits,
    lists_captions,
    look,
    place,
    refuse_taken,
)

ABANDONED_S = 24 * 3600.0
_PARTS = ".parts"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way.

    Attributes:
        id: names it to `append` and `finish`; the same file gets the same one again.
        folder: the data set that it goes to.
        name: the file's name there.
        size: its bytes.
        offset: bytes that have arrived: send those that follow.
    """

    id: str
    folder: str
    name: str
    size: int
    offset: int = 0


def begin(
    workspace: Workspace,
    folder: str,
    name: str,
    *,
    size: int,
    modified: str = "",
    limits: Limits = Limits(),
) -> Upload:
    """Announce a file, or go on with one whose line broke.

    Args:
        workspace: where.
        folder: the data set, a folder in data/; a .safetensors file goes to that folder in models/.
        name: the file's name, without folders.
        size: its bytes.
        modified: when it was changed, as the sender tells it; name, size and this tell files apart.
        limits: how much may be sent.
    Returns:
        The upload, with the bytes that are there already.
    Raises:
        FileRefused: name or kind of file are not taken, another file is in its place, or there is
            no room; nothing is left behind.
    """
    target = place(workspace, folder, name)
    if not 0 < size <= limits.file_bytes:
        raise FileRefused(
            f"{shown(name)}: must have 1 to {limits.file_bytes:,} bytes, got {size:,}"
            + ("; an empty file shows nothing" if size <= 0 else "; make it smaller or split it")
        )
    if target.suffix.lower() in TEXTS and size > MAX_TEXT_BYTES:
        raise FileRefused(
            f"{shown(name)}: a caption must have at most {MAX_TEXT_BYTES:,} bytes, got {size:,}"
        )
    if lists_captions(name) and size > MAX_METADATA_BYTES:
        raise FileRefused(
            f"{shown(name)}: must have at most {MAX_METADATA_BYTES:,} bytes, got {size:,}"
        )
    parts = _parts(workspace)
    key = "\0".join((folder, name, str(size), modified))
    upload = Upload(hashlib.sha256(key.encode()).hexdigest()[:32], folder, name, size)
    with one_at_a_time(parts):
        clean(workspace)
        refuse_taken(target)
        part = _part(parts, upload)
        if not part.exists():
            _require_room(parts, size, limits)
            store.write_json(parts / f"{upload.id}.json", asdict(upload))
            part.touch()
        return _at(upload, part.stat().st_size)


def append(workspace: Workspace, id: str, *, offset: int, data: bytes) -> Upload:
    """Take the next piece of a file.

    Args:
        workspace: where.
        id: of the upload.
        offset: where in the file the piece begins.
        data: the piece. One that has arrived already, as when only the answer was lost, changes
            nothing.
    Returns:
        The upload with its new offset.
    Raises:
        FileRefused: no such upload, a gap, or more bytes than announced; in the last case nothing
            is left of it.
    """
    parts = _parts(workspace)
    with one_at_a_time(parts):
        upload = _find(parts, id)
        part = _part(parts, upload)
        have = part.stat().st_size
        if offset > have or offset < 0:
            raise FileRefused(
                f"{shown(upload.name)}: {have:,} bytes are here, so the next piece "
                f"must begin there, got one that begins at {offset:,}"
            )
        fresh = data[have - offset :]
        if have + len(fresh) > upload.size:
            _discard(parts, upload)
            raise FileRefused(
                f"{shown(upload.name)}: was announced with {upload.size:,} bytes and has more; "
                "nothing of it was kept"
            )
        try:
            with open(part, "ab") as file:
                file.write(fresh)
        except OSError:  # the disk is full: what was written of the piece is not counted
            os.truncate(part, have)
            raise
        return _at(upload, have + len(fresh))


def finish(workspace: Workspace, id: str) -> Path:
    """Look at a file that is there whole, and put it in its place.

    Args:
        workspace: where.
        id: of the upload.
    Returns:
        The file.
    Raises:
        FileRefused: bytes are missing (then it can go on); or it is not what its name says, or
            another file took its place: then nothing is left of it.
    """
    parts = _parts(workspace)
    with one_at_a_time(parts):
        upload = _find(parts, id)
        part = _part(parts, upload)
        if (have := part.stat().st_size) != upload.size:
            raise FileRefused(
                f"{shown(upload.name)}: {upload.size - have:,} of {upload.size:,} bytes are missing"
            )
        try:
            look(part, upload.name)
            target = place(workspace, upload.folder, upload.name)
            refuse_taken(target)
            store.sync(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            store.patiently(lambda: os.rename(part, target))
            store.sync(target.parent)
        finally:
            _discard(parts, upload)
    return target


def abandon(workspace: Workspace, id: str) -> None:
    """Forget a file on its way.

    Args:
        workspace: where.
        id: of the upload; harmless when it is not known.
    """
    parts = _parts(workspace)
    with one_at_a_time(parts), contextlib.suppress(FileRefused):
        _discard(parts, _find(parts, id))


def clean(workspace: Workspace, *, older_s: float = ABANDONED_S) -> int:
    """Remove what nobody went on sending.

    Args:
        workspace: where.
        older_s: seconds since its last piece.
    Returns:
        How many files were removed.
    """
    parts, count = _parts(workspace), 0
    # What belongs to an upload is as old as its last piece.
    uploads = {path.stem: _upload(store.read_json(path)) for path in parts.glob("*.json")}
    for path in parts.iterdir():
        upload = uploads.get(path.stem)
        newest = path if upload is None else _part(parts, upload)
        if newest.exists() and time.time() - newest.stat().st_mtime <= older_s:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        count += path.suffix == ".json"
    return count


def _require_room(parts: Path, size: int, limits: Limits) -> None:
    announced = [store.read_json(path) for path in parts.glob("*.json")]
    coming = sum(
        one["size"] - (part.stat().st_size if (part := _part(parts, _upload(one))).exists() else 0)
        for one in announced
    )
    room = store.free_bytes(parts) - limits.spare_bytes - coming
    if size > room:
        raise FileRefused(
            f"the disk has room for {max(0, room):,} bytes more ({limits.spare_bytes:,} stay free "
            f"for runs), got a file of {size:,}; delete runs or data that are no longer needed"
        )


def _parts(workspace: Workspace) -> Path:
    folder = workspace.data / _PARTS
    folder.mkdir(exist_ok=True)
    return folder


def _find(parts: Path, id: str) -> Upload:
    path = parts / f"{id}.json"
    if re.fullmatch("[0-9a-f]{32}", id) and path.exists():
        upload = _upload(store.read_json(path))
        if _part(parts, upload).exists():
            return upload
    raise FileRefused("this upload is not known (any more); send the file again")


def _upload(data: dict[str, object]) -> Upload:
    return Upload(**data)  # pyright: ignore[reportArgumentType]


def _part(parts: Path, upload: Upload) -> Path:
    # The extension tells decoders what to expect.
    return parts / f"{upload.id}{Path(upload.name).suffix.lower()}"


def _at(upload: Upload, offset: int) -> Upload:
    return Upload(upload.id, upload.folder, upload.name, upload.size, offset)


def _discard(parts: Path, upload: Upload) -> None:
    _part(parts, upload).unlink(missing_ok=True)
    (parts / f"{upload.id}.json").unlink(missing_ok=True)
