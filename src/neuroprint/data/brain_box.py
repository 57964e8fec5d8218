"""Where in the volume the brain (or, in a scan that still has its skull, the head) lies."""

from __future__ import annotations

import numpy as np

_CORNER_SHARE = 16  # a corner block takes a sixteenth of each axis
_SLICE_SHARE = 0.01
_ROUNDING = 1e-5  # of the range of intensities


def brain_box(images: np.ndarray) -> np.ndarray:
    """Return the box around all that is not background in any modality.

    What background is, each modality's eight corners tell:

    - At least half of the corner voxels share one value (0 where the skull was stripped, -1024 or the minimum of a
      normalized scan elsewhere): background is that value, but for rounding, and a single other voxel belongs to the brain.
    - They do not (noise in the air around a head): background is below ``p2 + 0.1 (p98 - p2)`` of the volume's
      percentiles, the threshold of BET (Smith 2002), and only slices count of which 1 % lies above it, so that
      specks in the air do not move the box.

    Args:
        images: (C, X, Y, Z), no NaN.

    Returns:
        (3, 2) int64: first voxel and the one after the last, per axis. The whole grid where nothing stands out.
    """
    shape = images.shape[1:]
    bounds = np.array([_bounds(image) for image in images])
    found = bounds[(bounds[:, :, 1] > bounds[:, :, 0]).all(axis=1)]
    if not len(found):
        return np.array([(0, n) for n in shape], dtype=np.int64)
    return np.stack([found[:, :, 0].min(axis=0), found[:, :, 1].max(axis=0)], axis=1)


def foreground(image: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool, what of one modality is not background, in the sense of :func:`brain_box`; specks in the air count."""
    found = _background(image)
    if found is not None:
        value, spread = found
        return np.asarray(image != value if not spread else np.abs(image - value) > spread)
    low, high = np.percentile(image[::2, ::2, ::2], (2, 98))
    return np.asarray(image > low + 0.1 * (high - low))


def without_background(image: np.ndarray) -> np.ndarray:
    """One modality, shifted so that its background is 0, as that of a scan without its skull mostly is.

    A scan that was scaled and shifted as a whole, as by a z-score or to [-1, 1], becomes a multiple of the scan it was made
    from. Background that is no single value, such as noise in the air, stays as it is.

    Args:
        image: (X, Y, Z), no NaN.

    Returns:
        The image itself where its background is 0 or not known, else float32.
    """
    found = _background(image)
    if found is None or found == (0.0, 0.0):
        return image
    shifted = image.astype(np.float32) - np.float32(found[0])
    shifted[~foreground(image)] = 0
    return np.asarray(shifted)


def has_background_of_zero(image: np.ndarray) -> bool:
    """Whether :func:`without_background` leaves an image as it is."""
    return _background(image) in (None, (0.0, 0.0))


def box_center(box: np.ndarray) -> np.ndarray:
    """Return the center of a box in voxel indices, (3,) float64: the mean of its first and last voxels."""
    center: np.ndarray = (box[:, 0] + box[:, 1] - 1) / 2
    return center


def _bounds(image: np.ndarray) -> np.ndarray:
    stripped = _background(image) is not None
    return _occupied(foreground(image), least_share=0.0 if stripped else _SLICE_SHARE)


def _background(image: np.ndarray) -> tuple[float, float] | None:
    """The value that half of the corners' voxels share, and how far from it background may lie; None where there is none.

    They share it exactly, or, in real numbers, but for what rounding leaves where a constant was computed with.
    """
    corners = _corners(image)
    values, counts = np.unique(corners, return_counts=True)
    if counts.max() * 2 >= corners.size:
        return float(values[counts.argmax()]), 0.0
    if image.dtype.kind == "f":
        middle, spread = float(np.median(corners)), _ROUNDING * float(np.ptp(image))
        if np.count_nonzero(np.abs(corners - middle) <= spread) * 2 >= corners.size:
            return middle, spread
    return None


def _corners(image: np.ndarray) -> np.ndarray:
    sides = []
    for n in image.shape:
        k = min(max(1, n // _CORNER_SHARE), (n + 1) // 2)
        sides.append(np.unique([*range(k), *range(n - k, n)]))
    block: np.ndarray = image[np.ix_(*sides)]
    return block


def _occupied(mask: np.ndarray, least_share: float) -> np.ndarray:
    bounds = np.zeros((3, 2), dtype=np.int64)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        occupied = mask.mean(axis=others) >= least_share if least_share else mask.any(axis=others)
        slices = np.flatnonzero(occupied)
        if len(slices):
            bounds[axis] = slices[0], slices[-1] + 1
    return bounds
