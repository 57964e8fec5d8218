"""Entries of the store that this process has decoded: the jobs of a sweep ask for the same ones again and again."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from neuroprint.embedding.entry import Entry

_MOST_BYTES = 96 * 10**6  # of all entries together, as files; a larger cohort is read again
_LARGEST_BYTES = 10**6  # of one: vectors and facts, no maps
# A file changed twice within one tick of the file system's clock looks the same: too fresh to be remembered.
_SETTLED_NS = 2 * 10**9

Mark = tuple[int, int, int]


class EntryCache:
    """Entries by path, while the file's size, time of change and inode stay; the longest unused goes first."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._known: OrderedDict[Path, tuple[Mark, Entry]] = OrderedDict()

    def get(self, path: Path, stat: os.stat_result) -> Entry | None:
        """The entry, unless the file is another now."""
        mark, entry = self._known.get(path, (None, None))
        if mark != _mark(stat):
            return None
        self._known.move_to_end(path)
        return entry

    def put(self, path: Path, stat: os.stat_result, entry: Entry) -> None:
        """Remember an entry, whose arrays nobody can change from then on."""
        self._forget(path)
        if stat.st_size > _LARGEST_BYTES or time.time_ns() - stat.st_mtime_ns < _SETTLED_NS:
            return
        for array in entry.arrays.values():
            array.flags.writeable = False
        self._known[path] = _mark(stat), entry
        self._bytes += stat.st_size
        while self._bytes > self._most:
            self._forget(next(iter(self._known)))

    def _forget(self, path: Path) -> None:
        if path in self._known:
            (size, _, _), _ = self._known.pop(path)
            self._bytes -= size


def _mark(stat: os.stat_result) -> Mark:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
