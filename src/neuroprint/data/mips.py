"""Small pictures of a case for reports: maximum intensity projections in one fixed orientation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation

PLANES = ("axial", "coronal", "sagittal")
LONGEST_PX = 96
# The patient's axes: the one that is projected, the one that runs across a picture, and the one that runs up.
_AXES = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}


def project(image: np.ndarray, affine: np.ndarray) -> dict[str, np.ndarray]:
    """Project a volume along each of the patient's axes and keep the maximum.

    Whatever the affine, pictures are oriented as radiologists hang them: axial with the patient's right on the
    left and the front up, coronal with the right on the left and the head up, sagittal with the front on the left
    and the head up. An oblique grid is shown along its own axes, each named by the patient's axis it is nearest to.

    Args:
        image: (X, Y, Z).
        affine: Voxel to world RAS+ mm, (4, 4).

    Returns:
        Per plane a 2-D float32 array of at most 96 pixels on the longer side, pixels square in mm, area-averaged.
    """
    orientation = io_orientation(affine)
    voxel_axes = _voxel_axes(affine)
    flips = [orientation[axis, 1] for axis in voxel_axes]
    spacing = voxel_sizes(affine)
    pictures = {}
    for plane, (along, across, up) in _AXES.items():
        flat = image.max(axis=voxel_axes[along])
        if voxel_axes[up] > voxel_axes[across]:
            flat = flat.T  # now (up, across)
        # World axes grow to the right, front and head, rows and columns of a picture downwards and to the right.
        flat = flat[:: int(-flips[up]), :: int(-flips[across])]
        pictures[plane] = _fitted(flat, spacing[voxel_axes[up]], spacing[voxel_axes[across]])
    return pictures


def projected_mm(shape: Sequence[int] | np.ndarray, affine: np.ndarray) -> dict[str, tuple[float, float]]:
    """Height and width in mm of the pictures that :func:`project` makes of a volume, by plane.

    Args:
        shape: (X, Y, Z) voxels of the volume.
        affine: Voxel to world RAS+ mm, (4, 4).
    """
    extent = (np.asarray(shape, dtype=np.float64) * voxel_sizes(affine))[_voxel_axes(affine)]
    return {plane: (float(extent[up]), float(extent[across])) for plane, (_, across, up) in _AXES.items()}


def as_gray(pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scale the pictures of one case alike to uint8: from the 1st to the 99.5th percentile of their pixels."""
    pixels = np.concatenate([picture.ravel() for picture in pictures.values()])
    low, high = np.percentile(pixels, (1, 99.5))
    span = max(float(high - low), np.finfo(np.float32).tiny)
    return {
        plane: (np.clip((picture - low) / span, 0, 1) * 255).round().astype(np.uint8)
        for plane, picture in pictures.items()
    }


def as_mask(pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Threshold projected masks at half a pixel's area; what is smaller than that still shows as a pixel."""
    return {plane: (picture >= min(0.5, picture.max() or 1.0)) for plane, picture in pictures.items()}


def _voxel_axes(affine: np.ndarray) -> list[int]:
    """Which axis of the voxels runs along each of the patient's."""
    orientation = io_orientation(affine)
    return [int(np.flatnonzero(orientation[:, 0] == world)[0]) for world in range(3)]


def _fitted(flat: np.ndarray, row_mm: float, column_mm: float) -> np.ndarray:
    height, width = flat.shape[0] * row_mm, flat.shape[1] * column_mm
    pixel_mm = max(min(row_mm, column_mm), max(height, width) / LONGEST_PX)
    rows = _area_weights(flat.shape[0], _pixels(height, pixel_mm))
    columns = _area_weights(flat.shape[1], _pixels(width, pixel_mm))
    fitted: np.ndarray = (rows @ flat.astype(np.float32) @ columns.T).astype(np.float32)
    return fitted


def _pixels(length_mm: float, pixel_mm: float) -> int:
    return min(LONGEST_PX, max(1, round(length_mm / pixel_mm)))


def _area_weights(n_in: int, n_out: int) -> np.ndarray:
    """Return the (n_out, n_in) share of each input sample in each output pixel; rows sum to 1."""
    edges_out = np.linspace(0, n_in, n_out + 1)
    starts = np.arange(n_in)
    overlap = np.minimum(edges_out[1:, None], starts + 1) - np.maximum(edges_out[:-1, None], starts)
    weights = np.clip(overlap, 0, None)
    shares: np.ndarray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
