"""Pictures that are there twice, byte for byte: seen by size first, so that few are read."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Hashable
from typing import IO

from workbench.data.sources import Files

__all__ = ["Duplicates"]

_SAMPLES, _BYTES = 8, 4096


class Duplicates:
    """Finds exact copies among the pictures of one subset.

    Two names of one file (links) are no copies: who makes them means to show it twice.

    Args:
        files: of the subset.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.num_links = 0
        self._first: dict[int, str] = {}
        self._sampled: defaultdict[tuple[int, bytes], list[str]] = defaultdict(list)
        self._seen: set[str] = set()

    def of(self, name: str, file: IO[bytes], key: Hashable) -> tuple[str, ...]:
        """Find the pictures that another one is a copy of.

        Args:
            name: of the picture.
            file: its opened file; the position is lost.
            key: what copies share beside their bytes: size in px, and how often they are shown.
        Returns:
            Names of the earlier ones.
        """
        small = hash((file.seek(0, os.SEEK_END), key))
        first = self._first.setdefault(small, name)
        if first == name:
            return ()
        if self._is_link(name, first):
            self.num_links += 1
            return ()
        if first not in self._seen:
            self._seen.add(first)
            with self.files.open(first) as other:
                self._sampled[small, _sample(other)].append(first)
        alike = self._sampled[small, _sample(file)]
        if any(self._is_link(name, other) for other in alike):
            self.num_links += 1
            return ()
        twins = tuple(other for other in alike if self._are_equal(file, other))
        alike.append(name)
        return twins

    def _is_link(self, name: str, other: str) -> bool:
        here, there = self.files.path(name), self.files.path(other)
        return here is not None and there is not None and os.path.samefile(here, there)

    def _are_equal(self, file: IO[bytes], other: str) -> bool:
        file.seek(0)
        with self.files.open(other) as twin:
            while chunk := file.read(1 << 20):
                if chunk != twin.read(1 << 20):
                    return False
            return not twin.read(1)


def _sample(file: IO[bytes]) -> bytes:
    last = max(0, file.seek(0, os.SEEK_END) - _BYTES)
    digest = hashlib.sha256()
    for start in sorted({last * place // (_SAMPLES - 1) for place in range(_SAMPLES)}):
        file.seek(start)
        digest.update(file.read(_BYTES))
    return digest.digest()
