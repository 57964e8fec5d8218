"""Trilinear reading of maps at scattered positions, several channels at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from neuroprint.phantom.types import PhantomFloats

_CHUNK = 8192  # what is in hand stays in the processor's cache


def interpolate(table: PhantomFloats, where: PhantomFloats) -> PhantomFloats:
    """Values (C, N) of a table (X, Y, Z, C) at fractional indices (3, N); the edge's value outside.

    The channels share indices and weights, which makes this two to three times as fast as one
    ``scipy.ndimage.map_coordinates`` a channel.
    """
    x, y, z, channels = table.shape
    rows = table.reshape(-1, channels)
    last = np.array([[x - 1], [y - 1], [z - 1]], np.float32) - np.float32(1e-3)
    values = np.empty((channels, where.shape[1]), np.float32)
    for start in range(0, where.shape[1], _CHUNK):
        at = np.clip(where[:, start : start + _CHUNK], 0, last)
        corner = at.astype(np.int32)
        part = (at - corner)[:, :, None]
        first = (corner[0] * y + corner[1]) * z + corner[2]
        low = _face(rows, first, z, part)
        low += part[0] * (_face(rows, first + y * z, z, part) - low)
        values[:, start : start + _CHUNK] = low.T
    return values


def _face(rows: PhantomFloats, index: npt.NDArray[np.int32], stride: int, part: PhantomFloats) -> PhantomFloats:
    near, far = _edge(rows, index, part[2]), _edge(rows, index + stride, part[2])
    far -= near
    far *= part[1]
    near += far
    return near


def _edge(rows: PhantomFloats, index: npt.NDArray[np.int32], part: PhantomFloats) -> PhantomFloats:
    near, far = rows.take(index, axis=0), rows.take(index + 1, axis=0)
    far -= near
    far *= part
    near += far
    return near
