"""An entry of the feature store, and its form on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT = "neuroprint-features-1"
Arrays = Mapping[str, npt.NDArray[Any]]


class NotAnEntryError(Exception):
    """The bytes are not an entry that the store wrote under this name."""


@dataclass(frozen=True)
class Entry:
    """What the store knows of one case: named arrays and a JSON-able note."""

    arrays: Arrays
    note: Mapping[str, Any]

    def encoded(self, kind: str, content: str) -> bytes:
        """The entry as a safetensors file with a checksum.

        Args:
            kind: The folder it is for.
            content: The digest of the case it is of.
        """
        from safetensors.numpy import save

        # safetensors writes memory as it lies, so an array with other strides must be laid out first.
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        metadata = {
            "format": FORMAT,
            "kind": kind,
            "content": content,
            "note": json.dumps(self.note),
            "checksum": _checksum(arrays, self.note),
        }
        return bytes(save(arrays, metadata=metadata))

    @classmethod
    def decoded(cls, data: bytes, kind: str, content: str) -> Entry:
        """The entry that :meth:`encoded` made.

        Raises:
            NotAnEntryError: It is torn, altered, or another's.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            metadata = header["__metadata__"]
            note = json.loads(metadata["note"])
        except (SafetensorError, ValueError, KeyError) as error:
            raise NotAnEntryError(f"unreadable: {error}") from error
        expected = {"format": FORMAT, "kind": kind, "content": content, "checksum": _checksum(arrays, note)}
        for name, value in expected.items():
            if metadata.get(name) != value:
                raise NotAnEntryError(f"its {name} is not what it should be")
        return cls(arrays, note)


def _checksum(arrays: Arrays, note: Mapping[str, Any]) -> str:
    checksum = hashlib.sha256(json.dumps(note).encode())
    for name in sorted(arrays):
        checksum.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        checksum.update(np.ascontiguousarray(arrays[name]).data)
    return checksum.hexdigest()
