"""Which bytes a result was computed from: SHA-256 of files, cases and cohorts."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import combinations
from typing import TYPE_CHECKING

from neuroprint.data.nifti import file_errors
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from pathlib import Path

    from neuroprint.data.case import Case, Cohort, ImageFile

# A file changed twice within one tick of the file system's clock keeps size and mtime: too fresh to be remembered.
_SETTLED_NS = 2 * 10**9
_TABLE = """CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, sha256 TEXT)"""

Progress = Callable[[int, int], None]
"""Called with the cases done and the cases in all."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FingerprintCache:
    """Remembers the SHA-256 of files while their path, size, time of change and inode stay.

    One SQLite file; any number of processes may share it. A file changed less than two seconds ago is not remembered.

    Args:
        path: Where the memory lies; made where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._memory: dict[tuple[str, int, int, int], str] = {}

    def sha256(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the SHA-256 of each file, hashing only what is not remembered, in threads.

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
        hashed = _hash_all(new)
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
                f"the cache of file fingerprints {self.path} cannot be used ({error});\n"
                "it can be deleted at any time: delete it, and check that the disk is not full"
            ) from error


def image_fingerprint(case: Case, cache: FingerprintCache | None = None) -> str:
    """Return the SHA-256 of a case's images by role, channel and bytes; paths, id and label do not matter.

    Raises:
        CaseError: A file cannot be read.
    """
    return _fingerprint(case, dict(case.images), cache)


def image_hashes(case: Case, cache: FingerprintCache | None = None) -> dict[str, str]:
    """Return the SHA-256 of each of a case's images by modality; of a 4-D file, that of the file and the channel.

    Raises:
        CaseError: A file cannot be read.
    """
    hashes = _file_hashes(case, dict(case.images), cache)
    return {
        role: hashes[image.path] if image.channel is None else f"{hashes[image.path]} {image.channel}"
        for role, image in case.images.items()
    }


def case_fingerprint(case: Case, cache: FingerprintCache | None = None) -> str:
    """Return the SHA-256 of a case's images and label by role, channel and bytes; paths and id do not matter.

    Raises:
        CaseError: A file cannot be read.
    """
    return _fingerprint(case, case.files(), cache)


def cohort_fingerprint(cohort: Cohort, cache: FingerprintCache | None = None, progress: Progress | None = None) -> str:
    """Return the SHA-256 of all that an evaluation knows of its cohort.

    It covers each case's id, patient, files' bytes, label convention and metadata, the frame, and the ids of the
    excluded cases; neither the paths nor the order of the cases nor the cohort's name.

    Args:
        cohort: The cohort.
        cache: Remembers the files' hashes; without one every file is hashed anew.
        progress: Called after each case.

    Raises:
        CaseError: A file cannot be read.
    """
    records = []
    for done, case in enumerate(sorted(cohort.cases, key=lambda case: case.id), start=1):
        content = case_fingerprint(case, cache)
        records.append([case.id, case.patient, content, case.label_convention, dict(case.metadata)])
        if progress:
            progress(done, len(cohort.cases))
    return _digest({"cases": records, "excluded": sorted(cohort.excluded), "frame": cohort.frame})


def find_duplicates(cohort: Cohort, cache: FingerprintCache | None = None) -> list[tuple[str, str]]:
    """Return the pairs of ids whose image files are byte for byte the same, sorted.

    The same scan compressed anew has other bytes and is not found.

    Raises:
        CaseError: A file cannot be read.
    """
    same: dict[str, list[str]] = {}
    for case in cohort.cases:
        same.setdefault(image_fingerprint(case, cache), []).append(case.id)
    return sorted(pair for ids in same.values() for pair in combinations(sorted(ids), 2))


def _fingerprint(case: Case, files: dict[str, ImageFile], cache: FingerprintCache | None) -> str:
    hashes = _file_hashes(case, files, cache)
    return _digest(sorted([role, image.channel, hashes[image.path]] for role, image in files.items()))


def _file_hashes(case: Case, files: dict[str, ImageFile], cache: FingerprintCache | None) -> dict[Path, str]:
    for image in files.values():
        with file_errors(case.id, image.path), image.path.open("rb"):
            pass  # a file that cannot be opened is named here, case and all
    paths = list(dict.fromkeys(image.path for image in files.values()))
    return cache.sha256(paths) if cache else _hash_all(paths)


def _hash_all(paths: list[Path]) -> dict[Path, str]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing releases the GIL
        return dict(zip(paths, pool.map(file_sha256, paths), strict=True))


def _digest(record: object) -> str:
    text = json.dumps(record, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
