"""What a scan looks like as an image: a few numbers a series, by which a scan of another kind is told from a gallery's."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation

from neuroprint.data.brain_box import foreground
from neuroprint.data.brain_grid import along_patient

if TYPE_CHECKING:
    from collections.abc import Sequence

FACTS = {
    "volume": "volume in cm³",
    "width": "width in mm",
    "length": "length in mm, back to front",
    "height": "height in mm",
    "filled": "share of its box that it fills",
    "middle": "median intensity",
    "spread": "spread of the middle half of the intensities",
    "peak": "excess of the brightest voxels",
    "grain": "difference between neighboring voxels",
    "rim": "intensity within 6 mm of the surface",
    "below": "intensity 6 to 14 mm below the surface",
}
"""What is measured on each series, of all that is not background.

Intensities count relative to the series' 2nd (0) and 98th percentile (1).
"""

_LATTICE_MM = 4.0
_RIM_MM = 6.0
_BELOW_MM = 14.0
_LEAST = 20  # voxels of the lattice: of fewer there is nothing to tell
_DIGITS = 5


def appearance(images: np.ndarray, affine: np.ndarray, box: np.ndarray, modalities: Sequence[str]) -> dict[str, float]:
    """Measure each series by itself, and each pair: what is found does not depend on what else was read.

    No label, no segmentation and no unit of intensity is needed. Intensities are read on a lattice of about 4 mm, so
    that a large scan costs little more than a small one.

    Args:
        images: (C, X, Y, Z), no NaN.
        affine: Voxel to world RAS+ mm, (4, 4).
        box: (3, 2) the brain's, as :func:`neuroprint.data.brain_box.brain_box` finds it.
        modalities: Name of each channel.

    Returns:
        By ``SERIES/FACT``, facts as in :data:`FACTS`, and ``SERIES|SERIES/correlation``, names in the order of the
        alphabet. All are finite; of a series with next to nothing in it, all are 0.
    """
    inside = tuple(slice(start, stop) for start, stop in box)
    axes = np.argsort(io_orientation(affine)[:, 0])
    spacing = voxel_sizes(affine)[axes]
    found: dict[str, float] = {}
    series = {}
    for name, place in sorted((name, place) for place, name in enumerate(modalities)):
        image = along_patient(images[place][inside], affine)
        series[name] = _Series(image, along_patient(foreground(images[place])[inside], affine), spacing)
        found |= {f"{name}/{fact}": value for fact, value in series[name].facts().items()}
    for one, other in combinations(series, 2):
        found[f"{one}|{other}/correlation"] = _correlation(series[one], series[other])
    return {name: float(np.round(value, _DIGITS)) for name, value in found.items()}


def series_of(fact: str) -> list[str]:
    """Which series, one or two, a number of :func:`appearance` is of.

    Example:
        >>> series_of("t1|t2/correlation"), series_of("t1/rim")
        (['t1', 't2'], ['t1'])
    """
    return fact.rpartition("/")[0].split("|")


class _Series:
    """One series on the lattice.

    Args:
        image: (X, Y, Z), along the patient's axes.
        mask: What of it is not background.
        spacing: mm, in that order.
    """

    def __init__(self, image: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> None:
        self._image, self._mask, self._spacing = image, mask, spacing
        self._stride = np.maximum(1, np.rint(_LATTICE_MM / spacing)).astype(int)
        self.values, self.there = self._lattice()

    def facts(self) -> dict[str, float]:
        inside = self.values[self.there]
        if len(inside) < _LEAST:
            return dict.fromkeys(FACTS, 0.0)
        occupied = [np.flatnonzero(self._mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
        sides = [(where[-1] + 1 - where[0]) * mm for where, mm in zip(occupied, self._spacing, strict=True)]
        volume = np.count_nonzero(self._mask) * np.prod(self._spacing)
        low, first, middle, third, high, peak = np.percentile(inside, (2, 25, 50, 75, 98, 99.8))
        span = (high - low) or 1.0
        depth = self._depth_mm()
        rim, below = (depth > 0) & (depth <= _RIM_MM), (depth > _RIM_MM) & (depth <= _BELOW_MM)
        return {
            "volume": volume / 1000,
            **dict(zip(("width", "length", "height"), sides, strict=True)),
            "filled": volume / np.prod(sides),
            "middle": (middle - low) / span,
            "spread": (third - first) / span,
            "peak": (peak - high) / span,
            "grain": np.mean([self._step(axis) for axis in range(3)]) / span,
            "rim": (np.median(self.values[rim]) - low) / span if rim.any() else 0.0,
            "below": (np.median(self.values[below]) - low) / span if below.any() else 0.0,
        }

    def _lattice(self, shift: Sequence[int] = (0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
        taken = tuple(slice(start, None, step) for start, step in zip(shift, self._stride, strict=True))
        return self._image[taken].astype(np.float32), np.ascontiguousarray(self._mask[taken])

    def _step(self, axis: int) -> float:
        """The median difference to the next voxel along an axis."""
        values, there = self._lattice(np.eye(3, dtype=int)[axis])
        cut = tuple(slice(n) for n in values.shape)  # the last may have no next
        both = there & self.there[cut]
        return float(np.median(np.abs(values - self.values[cut])[both])) if both.any() else 0.0

    def _depth_mm(self) -> np.ndarray:
        """How far below the surface each point of the lattice lies; 0 in the background."""
        from scipy import ndimage

        padded = np.pad(self.there, 1)
        depth: np.ndarray = ndimage.distance_transform_edt(padded, sampling=self._spacing * self._stride)
        return depth[1:-1, 1:-1, 1:-1]


def _correlation(one: _Series, other: _Series) -> float:
    """Of two series where both have something; 0 where that is next to nothing, or flat."""
    both = one.there & other.there
    a, b = one.values[both], other.values[both]
    if len(a) < _LEAST or a.min() == a.max() or b.min() == b.max():
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
