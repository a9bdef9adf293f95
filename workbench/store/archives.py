"""Zip files that cannot climb out, link away or blow up: checked before anything is read."""

import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from workbench.store.files import FileRefused, shown

MAX_ARCHIVE_ENTRIES = 50_000
MAX_ARCHIVE_RATIO = 100  # declared size over compressed size; photographs reach about 1
_HARMLESS_BYTES = 1 << 20  # text and plain drawings of this size pack very well
_DAMAGE = (
    *(zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, OverflowError),
    *(struct.error, zlib.error, lzma.LZMAError),
)


class Archive:
    """A zip file that was checked before anything is read from it."""

    def __init__(self, path: str | Path) -> None:
        """Check the table of contents.

        Args:
            path: a .zip file.
        Raises:
            FileRefused: no zip, encrypted, or an entry climbs out, links, or inflates too far.
        """
        self.path = Path(path)
        self._process = os.getpid()
        self._zip = self._open()
        try:
            self._check_all(self._zip.infolist())
        except FileRefused:
            self.close()
            raise
        self.names = tuple(self._members)

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise FileRefused(f"{shown(self.path)}: no such file") from None
        except _DAMAGE as error:
            raise FileRefused(f"{shown(self.path)}: not a readable zip file ({error})") from None

    def _check_all(self, entries: list[zipfile.ZipInfo]) -> None:
        if len(entries) > MAX_ARCHIVE_ENTRIES:
            raise FileRefused(
                f"{shown(self.path)}: {len(entries):,} entries are more than "
                f"{MAX_ARCHIVE_ENTRIES:,}; split it"
            )
        # Some tools of Windows write backslashes between folders.
        self._members = {
            e.filename.replace("\\", "/"): e.filename for e in entries if not e.is_dir()
        }
        seen: set[str] = set()
        for entry in entries:
            self._check(entry)
            name = entry.filename.replace("\\", "/")
            if name in seen:
                raise FileRefused(
                    f"{shown(self.path)}: member {entry.filename!r} is there twice; pack it again"
                )
            seen.add(name)
        # Members that share their compressed bytes, or hide among many, are seen in the sum alone.
        _check_ratio(
            shown(self.path),
            sum(entry.file_size for entry in entries),
            self.path.stat().st_size,
        )

    def _check(self, entry: zipfile.ZipInfo) -> None:
        name = f"{shown(self.path)}: member {entry.filename!r}"
        parts = entry.filename.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or re.match("[A-Za-z]:", parts[0]):
            raise FileRefused(f"{name} points outside the archive; nothing was read")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise FileRefused(f"{name} is a symbolic link; nothing was read")
        if entry.flag_bits & 0x1:
            raise FileRefused(f"{name} is encrypted; unpack it yourself")
        _check_ratio(name, entry.file_size, entry.compress_size)

    def read(self, name: str) -> bytes:
        """The content of one member.

        Args:
            name: one of `names`.
        Returns:
            Its bytes.
        Raises:
            FileRefused: the member is damaged (CRC) or missing.
        """
        if self._process != os.getpid():  # after a fork the file's position would be shared
            self._process, self._zip = os.getpid(), self._open()
        try:
            return self._zip.read(self._members[name])
        except KeyError:
            raise FileRefused(f"{shown(self.path)}: has no member {name!r}") from None
        except _DAMAGE as error:
            raise FileRefused(
                f"{shown(self.path)}: member {name!r} cannot be read ({error}); pack it again"
            ) from None

    def size(self, name: str) -> int:
        """The declared size of one member in bytes.

        Args:
            name: one of `names`.
        Returns:
            Its uncompressed size.
        """
        return self._zip.getinfo(self._members[name]).file_size

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _check_ratio(name: str, size: int, packed: int) -> None:
    if size > _HARMLESS_BYTES and size > MAX_ARCHIVE_RATIO * packed:
        raise FileRefused(
            f"{name} inflates {packed:,} to {size:,} bytes, more than {MAX_ARCHIVE_RATIO} times; "
            "nothing was read"
        )
