"""What a scan looks like as an image: a few numbers a series, by which a scan of another kind is told from a gallery's."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

from neuroprint.data.brain_box import foreground
from neuroprint.data.brain_grid import along_patient

if TYPE_CHECKING:
    from collections.abc import Sequence

_LATTICE_MM = 4.0
_RIM_MM = 6.0
_BELOW_MM = 14.0
_LEAST = 20  # voxels of the lattice: of fewer there is nothing to tell


def appearance(images: np.ndarray, affine: np.ndarray, box: np.ndarray, modalities: Sequence[str]) -> dict[str, float]:
    """Measure each series by itself and each pair of series, so that what is found does not depend on what else was read.

    No label and no segmentation is needed, and no unit of intensity: intensities count relative to the series' own 2nd
    and 98th percentile. They are read on a lattice of about 4 mm, so that a large scan costs little more than a small one.

    Args:
        images: (C, X, Y, Z), no NaN.
        affine: Voxel to world RAS+ mm, (4, 4).
        box: (3, 2) the brain's, as :func:`neuroprint.data.brain_box.brain_box` finds it.
        modalities: Name of each channel.

    Returns:
        By ``SERIES/FACT``, and ``SERIES+SERIES/correlation``; see :data:`FACTS`. All are finite; of a series with next to
        nothing in it, all are 0.
    """
    spacing = voxel_sizes(affine)
    inside = tuple(slice(start, stop) for start, stop in box)
    found: dict[str, float] = {}
    on_lattice: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    order = np.argsort(modalities)
    for name, image in ((modalities[place], images[place]) for place in order):
        mask = foreground(image)[inside]
        facts, on_lattice[name] = _of_series(along_patient(image[inside], affine), along_patient(mask, affine), spacing)
        found |= {f"{name}/{fact}": value for fact, value in facts.items()}
    for one, other in combinations(on_lattice, 2):
        found[f"{one}+{other}/correlation"] = _correlation(on_lattice[one], on_lattice[other])
    return found


def _of_series(
    image: np.ndarray, mask: np.ndarray, spacing: np.ndarray
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    stride = np.maximum(1, np.rint(_LATTICE_MM / spacing)).astype(int)
    lattice = tuple(slice(None, None, step) for step in stride)
    coarse, there = image[lattice].astype(np.float32), np.ascontiguousarray(mask[lattice])
    values = coarse[there]
    names = [*("volume", "width", "length", "height", "filled"), *("middle", "spread", "peak", "grain", "rim", "below")]
    if len(values) < _LEAST:
        return dict.fromkeys(names, 0.0), (coarse, there)
    extent = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    sides = [(found[-1] + 1 - found[0]) * mm for found, mm in zip(extent, spacing, strict=True)]
    volume = float(np.count_nonzero(mask)) * float(np.prod(spacing)) / 1000
    low, first, middle, third, high, peak = np.percentile(values, (2, 25, 50, 75, 98, 99.8))
    span = float(high - low) or 1.0
    depth = ndimage.distance_transform_edt(np.pad(there, 1), sampling=spacing * stride)[1:-1, 1:-1, 1:-1]
    steps = []
    for axis, step in enumerate(stride):
        shifted = list(lattice)
        shifted[axis] = slice(1, None, step)
        size = [min(a, b) for a, b in zip(there.shape, image[tuple(shifted)].shape, strict=True)]
        cut = tuple(slice(n) for n in size)
        both = there[cut] & mask[tuple(shifted)][cut]
        steps.append(
            np.median(np.abs(image[tuple(shifted)][cut][both].astype(np.float32) - coarse[cut][both]))
            if both.any()
            else 0.0
        )
    rim = (depth > 0) & (depth <= _RIM_MM)
    below = (depth > _RIM_MM) & (depth <= _BELOW_MM)

    def level(where):
        return float((np.median(coarse[where]) - low) / span) if where.any() else 0.0

    numbers = [
        volume,
        *sides,
        1000 * volume / float(np.prod(sides)),
        (middle - low) / span,
        (third - first) / span,
        (peak - high) / span,
        float(np.mean(steps)) / span,
        level(rim),
        level(below),
    ]
    return dict(zip(names, map(float, numbers), strict=True)), (coarse, there)


def _correlation(one, other) -> float:
    both = one[1] & other[1]
    a, b = one[0][both], other[0][both]
    if len(a) < _LEAST or a.min() == a.max() or b.min() == b.max():
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
