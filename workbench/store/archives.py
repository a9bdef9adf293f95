"""Zip files that cannot climb out, link away or blow up: checked before anything is read."""

import stat
import zipfile
from pathlib import Path

from workbench.store.files import FileRefused

MAX_ARCHIVE_ENTRIES = 50_000
MAX_ARCHIVE_RATIO = 100  # declared size over compressed size; photographs reach about 1


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
        try:
            self._zip = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise FileRefused(f"{path}: not a readable zip file ({error})") from None
        entries = self._zip.infolist()
        if len(entries) > MAX_ARCHIVE_ENTRIES:
            raise FileRefused(
                f"{path}: {len(entries):,} entries are more than {MAX_ARCHIVE_ENTRIES:,}; split it"
            )
        for entry in entries:
            self._check(entry)
        self.names = tuple(entry.filename for entry in entries if not entry.is_dir())

    def _check(self, entry: zipfile.ZipInfo) -> None:
        name = f"{self.path}: member {entry.filename!r}"
        parts = entry.filename.replace("\\", "/").split("/")
        if entry.filename.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise FileRefused(f"{name} points outside the archive; nothing was read")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise FileRefused(f"{name} is a symbolic link; nothing was read")
        if entry.flag_bits & 0x1:
            raise FileRefused(f"{name} is encrypted; unpack it yourself")
        if entry.file_size > 1 << 20 and entry.file_size > MAX_ARCHIVE_RATIO * entry.compress_size:
            raise FileRefused(
                f"{name} inflates {entry.compress_size:,} to {entry.file_size:,} bytes, more than "
                f"{MAX_ARCHIVE_RATIO} times; nothing was read"
            )

    def read(self, name: str) -> bytes:
        """The content of one member.

        Args:
            name: one of `names`.
        Returns:
            Its bytes.
        Raises:
            FileRefused: the member is damaged (CRC) or missing.
        """
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, KeyError, OSError, EOFError, ValueError) as error:
            raise FileRefused(f"{self.path}: member {name!r} cannot be read ({error})") from None

    def size(self, name: str) -> int:
        """The declared size of one member in bytes.

        Args:
            name: one of `names`.
        Returns:
            Its uncompressed size.
        """
        return self._zip.getinfo(name).file_size

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
