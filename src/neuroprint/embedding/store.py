"""The feature store: one file per case and extractor, addressed by content.

An extractor is everything that a case's features depend on but the poolings: encoder, weights, preprocessing, inferer and
precision. Its hash names a folder, in ``features`` for vectors and in ``maps`` for maps that are kept; the hash of the
case's own image bytes names the file inside. Files are written beside and renamed into place, and carry a checksum, so
that a killed writer leaves nothing that could be read as data.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from neuroprint.embedding.entry_cache import EntryCache

log = logging.getLogger(__name__)

FORMAT = "neuroprint-features-1"
_ABANDONED_S = 3600  # no entry takes an hour to write
Vectors = dict[str, npt.NDArray[Any]]


def digest(content: Any) -> str:
    """SHA-256 of the canonical JSON of ``content``, in hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What the store knows of one case: named arrays and a JSON-able note."""

    arrays: Vectors
    note: Mapping[str, Any]


class FeatureStore:
    """Arrays by kind (an extractor, or the facts of a case) and by case content.

    Args:
        root: Folder of the store; made when first written to. It may lie on a file system that machines share.
        keep_maps_mb: Most that the feature maps kept of one case by one extractor take up, in 10^6 bytes.
    """

    def __init__(self, root: Path, keep_maps_mb: float = 0.0) -> None:
        self.root = root
        self.keep_maps_mb = keep_maps_mb

    def path(self, kind: str, content: str) -> Path:
        return self.root / kind / f"{content[:40]}.safetensors"

    def read(self, kind: str, content: str) -> Entry | None:
        """The entry, or None where it is absent, torn, altered or somebody else's."""
        path = self.path(kind, content)
        try:
            with path.open("rb") as stream:
                stat = os.fstat(stream.fileno())
                if (known := _cache.get(path, stat)) is not None:
                    return known
                entry = _decode(stream.read(), kind, content)
        except FileNotFoundError:
            return None
        except _NotAnEntryError as error:
            log.warning("%s is not a sound entry of the feature store (%s); it will be computed again", path, error)
            return None
        _cache.put(path, stat, entry)
        return entry

    def write(self, kind: str, content: str, entry: Entry) -> None:
        """Put an entry in place in one step: readers see all of it, or what was there before."""
        path = self.path(kind, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as stream:
                stream.write(_encode(kind, content, entry))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

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
        """Leave a readable ``extractor.json`` beside the entries: what the folder's hash stands for."""
        path = self.root / kind / "extractor.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            temporary.write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
            temporary.replace(path)


_cache = EntryCache()


class _NotAnEntryError(Exception):
    """The bytes are not an entry that this store wrote under this name."""


def _encode(kind: str, content: str, entry: Entry) -> bytes:
    from safetensors.numpy import save

    # safetensors writes memory as it lies, so a view with other strides must be laid out first.
    arrays = {name: np.ascontiguousarray(array) for name, array in entry.arrays.items()}
    metadata = {
        "format": FORMAT,
        "kind": kind,
        "content": content,
        "note": json.dumps(entry.note),
        "checksum": _checksum(arrays, entry.note),
    }
    return save(arrays, metadata=metadata)


def _decode(data: bytes, kind: str, content: str) -> Entry:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = header["__metadata__"]
        note = json.loads(metadata["note"])
    except (SafetensorError, ValueError, KeyError) as error:
        raise _NotAnEntryError(f"unreadable: {error}") from error
    expected = {"format": FORMAT, "kind": kind, "content": content, "checksum": _checksum(arrays, note)}
    for name, value in expected.items():
        if metadata.get(name) != value:
            raise _NotAnEntryError(f"its {name} is not what it should be")
    return Entry(arrays, note)


def _checksum(arrays: Vectors, note: Mapping[str, Any]) -> str:
    checksum = hashlib.sha256(json.dumps(note).encode())
    for name in sorted(arrays):
        checksum.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        checksum.update(np.ascontiguousarray(arrays[name]).data)
    return checksum.hexdigest()
