"""Similarities between embeddings, larger is closer.

A matrix product rounds differently from one library, thread count or position in the matrix to the next, and
differences in the last bit reorder neighbors. Here vectors are first rounded to a grid so coarse that every product
and every partial sum is exact in double precision (2^-26 of the vector's length per component, finer than the float32
features it rounds). The product then has one value, in whatever order it is summed: equal vectors get equal
similarities, and a ranking is a function of its inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Callable

RealVectors = npt.NDArray[np.floating]
Matrix = npt.NDArray[np.float64]

_FEW_DIMENSIONS = 16


def cosine(queries: RealVectors, gallery: RealVectors) -> Matrix:
    """Cosine of the angle between vectors: (m, d), (n, d) -> (m, n). A zero vector has cosine 0 with everything."""
    product: Matrix = _on_grid(_unit(queries)) @ _on_grid(_unit(gallery)).T
    return np.clip(product, -1.0, 1.0)


def dot(queries: RealVectors, gallery: RealVectors) -> Matrix:
    """Dot product: (m, d), (n, d) -> (m, n)."""
    query_scale, gallery_scale = _scales(queries), _scales(gallery)
    scaled_queries, scaled_gallery = queries / query_scale[:, None], gallery / gallery_scale[:, None]
    product: Matrix = (_on_grid(scaled_queries) @ _on_grid(scaled_gallery).T) * query_scale[:, None] * gallery_scale
    return product


def euclidean(queries: RealVectors, gallery: RealVectors) -> Matrix:
    """Negative Euclidean distance: (m, d), (n, d) -> (m, n)."""
    if queries.shape[1] <= _FEW_DIMENSIONS:
        from scipy.spatial.distance import cdist

        return -np.asarray(cdist(queries.astype(np.float64), gallery.astype(np.float64)), dtype=np.float64)
    scale = max(_scales(queries).max(), _scales(gallery).max()) * 2.0  # room for |a|^2 + |b|^2 - 2ab on the same grid
    a, b = _on_grid(queries / scale), _on_grid(gallery / scale)
    squared: Matrix = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * (a @ b.T)
    distance: Matrix = np.sqrt(squared) * scale
    return -distance


SIMILARITIES: dict[str, Callable[[RealVectors, RealVectors], Matrix]] = {
    "cosine": cosine,
    "dot": dot,
    "euclidean": euclidean,
}


def similarity_named(name: str) -> Callable[[RealVectors, RealVectors], Matrix]:
    """The similarity of that name.

    Raises:
        NeuroprintError: There is none of that name.
    """
    if name not in SIMILARITIES:
        raise NeuroprintError(f"unknown similarity {name!r}: choose one of {', '.join(SIMILARITIES)}")
    return SIMILARITIES[name]


def _on_grid(vectors: RealVectors) -> Matrix:
    """Round vectors of length up to 1 to multiples of 2^-26: products are multiples of 2^-52, their sums at most 1."""
    grid: Matrix = np.rint(vectors.astype(np.float64) * 2.0**26) * 2.0**-26
    return grid


def _scales(vectors: RealVectors) -> Matrix:
    """(m,) the power of two at or above each vector's length, so that dividing by it loses nothing."""
    lengths = _lengths(vectors)
    return np.exp2(np.ceil(np.log2(np.where(lengths > 0, lengths, 1.0))))


def _lengths(vectors: RealVectors) -> Matrix:
    """(m,) lengths; the largest component is divided out first, as squares of features may overflow."""
    wide = np.asarray(vectors, dtype=np.float64)
    largest = np.abs(wide).max(axis=1, initial=0.0)
    safe = np.where(largest > 0, largest, 1.0)
    lengths: Matrix = safe * np.sqrt(np.square(wide / safe[:, None]).sum(axis=1)) * (largest > 0)
    return lengths


def _unit(vectors: RealVectors) -> Matrix:
    lengths = _lengths(vectors)
    return np.asarray(vectors, dtype=np.float64) / np.where(lengths > 0, lengths, 1.0)[:, None]
