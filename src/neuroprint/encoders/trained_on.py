"""Which images trained weights have seen: marks in the header of their file, so that scores on the same images can say so."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from neuroprint.encoders.base import Encoder
from neuroprint.encoders.combined import CombinedEncoder
from neuroprint.encoders.weights_file import WeightsFile

_KEY = "trained_on"
_DIGITS = 16  # of SHA-256: two of a million images share a mark with a chance of one in forty million
_LARGEST_HEADER = 100_000_000  # safetensors' own limit


def mark(content: str) -> str:
    """The mark of an image, from the SHA-256 of its file in hex."""
    return content[:_DIGITS]


def header(marks: Iterable[str]) -> dict[str, str]:
    """Metadata for :func:`~neuroprint.encoders.checkpoints.save_weights`; nothing where there are no marks."""
    joined = " ".join(sorted(marks))
    return {_KEY: joined} if joined else {}


def seen_images(encoder: Encoder | CombinedEncoder) -> frozenset[str]:
    """Marks of the images that an encoder was trained on; empty where its weights do not say."""
    if isinstance(encoder, CombinedEncoder):
        return frozenset().union(*(seen_images(part) for part in encoder.encoders))
    weights = getattr(encoder, "weights", None)
    return _read(weights.path) if isinstance(weights, WeightsFile) and weights.is_safetensors else frozenset()


def _read(path: Path) -> frozenset[str]:
    # A damaged file is complained about where the weights themselves are loaded.
    with suppress(OSError, ValueError, AttributeError), path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size <= _LARGEST_HEADER:
            metadata = json.loads(stream.read(size)).get("__metadata__", {})
            return frozenset(str(metadata.get(_KEY, "")).split())
    return frozenset()
