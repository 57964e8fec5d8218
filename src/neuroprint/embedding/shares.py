"""What each encoder gives to an embedding, and how it becomes one vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from neuroprint.embedding.reading import Request
from neuroprint.encoders.base import OneSeries

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Share:
    """What one encoder gives to an embedding.

    Attributes:
        requests: One; of an encoder that is asked per series, one a series.
        averaged: Whether the series' vectors are averaged rather than joined.
    """

    requests: tuple[Request, ...]
    averaged: bool = False

    @classmethod
    def of(cls, request: Request) -> Share:
        """A request of an encoder, taken apart where the encoder is asked per series."""
        extractor = request.extractor
        asked = extractor.encoder.input.per_series
        if asked is None:
            return cls((request,))
        views = (
            replace(extractor, encoder=OneSeries(extractor.encoder, series), modalities=(series,))
            for series in extractor.modalities
        )
        return cls(tuple(replace(request, extractor=view) for view in views), averaged=asked == "mean")

    def vector(self, vectors: Sequence[Vector]) -> Vector:
        """One vector of a case from those of the requests."""
        return average(vectors) if self.averaged else join(vectors)


def requests_of(shares: Sequence[Share]) -> tuple[Request, ...]:
    """The requests of all shares, one after the other."""
    return tuple(request for share in shares for request in share.requests)


def embedding_of(shares: Sequence[Share], vectors: Sequence[Vector]) -> Vector:
    """A case's embedding from its vectors, in the order of :func:`requests_of`: each encoder has the same say in it."""
    left: Iterator[Vector] = iter(vectors)
    return join([share.vector([next(left) for _ in share.requests]) for share in shares])


def join(vectors: Sequence[Vector]) -> Vector:
    """One case's vectors of several encoders or series as one, each divided by its own Euclidean norm.

    So each has the same say, whatever its scale and size: the cosine of two joined vectors is the mean of their parts'
    cosines. It looks at one case only: nothing is fitted. A vector of zeros stays zero.

    Args:
        vectors: ``(d1,)``, ``(d2,)`` ...; a single one is returned as it is.

    Returns:
        ``(d1 + d2 + ...,)``

    Example:
        >>> join([np.array([3.0, 4.0], np.float32), np.array([0.0, 2.0], np.float32)])
        array([0.6, 0.8, 0. , 1. ], dtype=float32)
    """
    return vectors[0] if len(vectors) == 1 else np.concatenate([_unit(vector) for vector in vectors])


def average(vectors: Sequence[Vector]) -> Vector:
    """The mean of one case's vectors of several series, each divided by its own Euclidean norm; one stays as it is.

    Args:
        vectors: ``(d,)`` each.

    Returns:
        ``(d,)``

    Example:
        >>> average([np.array([3.0, 4.0], np.float32), np.array([0.0, 2.0], np.float32)])
        array([0.3, 0.9], dtype=float32)
    """
    return vectors[0] if len(vectors) == 1 else np.mean([_unit(vector) for vector in vectors], axis=0)


def _unit(vector: Vector) -> Vector:
    return (vector / (np.linalg.norm(vector) or 1)).astype(np.float32)
