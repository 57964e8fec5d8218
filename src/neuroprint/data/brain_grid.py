"""The common frame in which tumors of different heads overlap: the brain's box, cut into equally many cells."""

from __future__ import annotations

import numpy as np
from nibabel.orientations import io_orientation

CELLS = 32
"""Cells along each of the patient's axes. Of a brain of 140 x 175 x 140 mm they measure 4.4 x 5.5 x 4.4 mm."""


def along_patient(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return a volume's axes in the patient's order and direction (x to the right, y to the front, z up), a view.

    An oblique grid keeps its own axes, each named by the patient's axis it is nearest to.

    Args:
        image: (X, Y, Z).
        affine: Voxel to world RAS+ mm, (4, 4).
    """
    orientation = io_orientation(affine)
    axes = [int(np.flatnonzero(orientation[:, 0] == world)[0]) for world in range(3)]
    flips = tuple(slice(None, None, int(orientation[axis, 1])) for axis in axes)
    return image.transpose(axes)[flips]


def shares(mask: np.ndarray, box: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the share of each cell of the brain's box that a mask fills, exactly, in the patient's order of axes.

    Args:
        mask: (X, Y, Z); what lies outside the box is left out.
        box: (3, 2) first voxel of the brain and the one after the last, per axis.
        affine: Voxel to world RAS+ mm, (4, 4).

    Returns:
        (CELLS, CELLS, CELLS) float32 from 0 to 1.
    """
    inside = tuple(slice(start, stop) for start, stop in box)
    filled = along_patient(mask[inside], affine).astype(np.float32)
    for axis in range(3):
        filled = np.moveaxis(np.tensordot(_weights(filled.shape[axis]), filled, axes=(1, axis)), 0, axis)
    return filled


def _weights(n: int) -> np.ndarray:
    """(CELLS, n) share of each cell that each sample covers; rows sum to 1."""
    edges = np.linspace(0, n, CELLS + 1)
    starts = np.arange(n)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights: np.ndarray = (np.clip(overlap, 0, None) * (CELLS / n)).astype(np.float32)
    return weights
