"""The feature store: one file per case and extractor, addressed by content.

An extractor is everything that a case's features depend on but the poolings: encoder, weights, preprocessing, inferer and
precision. Its digest names a folder, in ``features`` for vectors and in ``maps`` for maps that are kept; the digest of the
case's own image bytes names the file inside. Files are written beside and renamed into place, and carry a checksum, so
that a killed writer leaves nothing that could be read as data.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from neuroprint.data.files import written_whole
from neuroprint.embedding.entry import Entry, NotAnEntryError
from neuroprint.embedding.entry_cache import EntryCache

log = logging.getLogger(__name__)

KEEP_MAPS_MB = 8.0
_ABANDONED_S = 3600  # no entry takes an hour to write


class FeatureStore:
    """Arrays by kind (an extractor, or the facts of a case) and by case content.

    Args:
        root: Folder of the store; made when first written to. It may lie on a file system that machines share.
        keep_maps_mb: Most that the feature maps kept of one case by one extractor take up, in 10^6 bytes.

    Attributes:
        unusable: Why a case cannot be used, by its content and the extractors, as this process found: the jobs of a sweep
            need not read and report it again.
    """

    def __init__(self, root: str | Path, keep_maps_mb: float = KEEP_MAPS_MB) -> None:
        self.root = Path(root)
        self.keep_maps_mb = keep_maps_mb
        self.unusable: dict[tuple[str, ...], str] = {}
        self._entries = EntryCache()

    def path(self, kind: str, content: str) -> Path:
        """Where an entry lies."""
        return self.root / kind / f"{content[:40]}.safetensors"

    def read(self, kind: str, content: str) -> Entry | None:
        """The entry, or None where it is absent, torn, altered or somebody else's."""
        path = self.path(kind, content)
        try:
            with path.open("rb") as stream:
                stat = os.fstat(stream.fileno())
                if (known := self._entries.get(path, stat)) is not None:
                    return known
                entry = Entry.decoded(stream.read(), kind, content)
        except FileNotFoundError:
            return None
        except NotAnEntryError as error:
            log.warning("%s is not a sound entry of the feature store (%s); it will be computed again", path, error)
            return None
        self._entries.put(path, stat, entry)
        return entry

    def write(self, kind: str, content: str, entry: Entry) -> None:
        """Put an entry in place in one step: readers see all of it, or what was there before."""
        with written_whole(self.path(kind, content)) as file:
            file.write(entry.encoded(kind, content))

    def tidy(self) -> None:
        """Remove what killed writers left half written."""
        for leftover in self.root.glob("*/*/.*.safetensors.*"):
            with suppress(FileNotFoundError):
                if time.time() - leftover.stat().st_mtime > _ABANDONED_S:
                    leftover.unlink()

    def lock(self, content: str) -> FileLock:
        """The right to compute what is missing of one case; a killed holder loses it at once."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{content[:40]}.lock", thread_local=False)

    def describe(self, kind: str, description: Mapping[str, Any]) -> None:
        """Leave a readable ``extractor.json`` beside the entries: what the folder's digest stands for."""
        path = self.root / kind / "extractor.json"
        if not path.exists():
            with written_whole(path) as file:
                file.write((json.dumps(description, indent=2, sort_keys=True) + "\n").encode())
