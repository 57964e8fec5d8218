"""Digests of content: which bytes a result was computed from, as SHA-256 of files, cases and cohorts."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from neuroprint.data.files import open_regular
from neuroprint.data.nifti import file_errors
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from pathlib import Path

    from neuroprint.data.case import Case, ImageFile

# A file changed twice within one tick of the file system's clock keeps size and mtime: too fresh to be remembered.
_SETTLED_NS = 2 * 10**9
_TABLE = """CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, sha256 TEXT)"""

Hash = Callable[[Iterable["Path"]], "dict[Path, str]"]
"""A function from files to their SHA-256."""


@dataclass(frozen=True)
class CaseDigests:
    """What is known of a case is stored under these.

    Attributes:
        images: Of its images by role, channel and bytes, which features depend on. Paths, id and label do not matter.
        case: Of images, label and label convention, which facts depend on.
        each: Of each image by modality, by which the same image under two patients is found.
    """

    images: str
    case: str
    each: Mapping[str, str] = field(default_factory=dict)


def digest(content: Any) -> str:
    """SHA-256 of the canonical JSON of ``content``, in hex.

    Example:
        >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
        True
    """
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of each file, in threads."""
    distinct = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the GIL
        return dict(zip(distinct, pool.map(file_sha256, distinct), strict=True))


class DigestCache:
    """Remembers the SHA-256 of files while their path, size, time of change and inode stay.

    One SQLite file; any number of processes may share it. A file changed less than two seconds ago is not remembered.

    Args:
        path: Where the memory lies; made where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, paths: Iterable[Path]) -> dict[Path, str]:
        """SHA-256 of each file, hashing only what is not remembered.

        Raises:
            OSError: A file cannot be read.
            NeuroprintError: The cache itself cannot be used.
        """
        stats = {path: path.stat() for path in dict.fromkeys(paths)}
        keys = {path: (str(path.absolute()), s.st_size, s.st_mtime_ns, s.st_ino) for path, s in stats.items()}
        with self._open() as database:
            query = "SELECT sha256 FROM files WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?"
            known = {path: row[0] for path, key in keys.items() if (row := database.execute(query, key).fetchone())}
        new = [path for path in keys if path not in known]
        if not new:
            return known
        settled = time.time_ns() - _SETTLED_NS
        hashed = hash_files(new)
        rows = [(*keys[path], sha) for path, sha in hashed.items() if keys[path][2] < settled]
        if rows:
            with self._open() as database, database:
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)
        return known | hashed

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # A connection for each use: it may cross neither threads nor a fork.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=60)) as database:
                database.execute(_TABLE)
                yield database
        except sqlite3.Error as error:
            raise NeuroprintError(
                f"the cache of file digests {self.path} cannot be used ({error});\n"
                "it can be deleted at any time: delete it, and check that the disk is not full"
            ) from error


def case_digests(case: Case, sha256: Hash = hash_files) -> CaseDigests:
    """The digests of a case.

    Raises:
        CaseError: A file cannot be read.
    """
    files = case.files()
    for image in files.values():
        with file_errors(case.id, image.path), open_regular(image.path):
            pass  # a file that cannot be opened is named here, case and all
    hashes = sha256(image.path for image in files.values())
    whole = _of_files(files, hashes)
    return CaseDigests(
        images=_of_files(case.images, hashes),
        case=hashlib.sha256(f"{whole} {case.label_convention}".encode()).hexdigest(),
        each={
            role: hashes[image.path] if image.channel is None else f"{hashes[image.path]} {image.channel}"
            for role, image in case.images.items()
        },
    )


def _of_files(files: Mapping[str, ImageFile], hashes: Mapping[Path, str]) -> str:
    return digest(sorted([role, image.channel, hashes[image.path]] for role, image in files.items()))
