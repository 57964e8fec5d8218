"""BraTS' three overlapping regions on a network's grid, and how well a prediction meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.data.targets import REGIONS, region_labels
from neuroprint.embedding.preprocessing import prepare_mask

if TYPE_CHECKING:
    from neuroprint.data.case import LabelConvention
    from neuroprint.encoders.base import InputSpec

Mask = npt.NDArray[np.bool_]


def regions_of(label: npt.NDArray[np.uint8], convention: LabelConvention) -> Mask:
    """Whole tumour, tumour core and enhancing tumour of a label ``(X, Y, Z)``: ``(3, X, Y, Z)``."""
    values = [int(value) for value in np.unique(label)]
    members = [region_labels(convention, region, values) for region in REGIONS]
    return np.stack([np.isin(label, list(labels)) for labels in members])


def prepare_regions(
    label: npt.NDArray[np.uint8],
    convention: LabelConvention,
    affine: npt.NDArray[np.float64],
    brain_box: npt.NDArray[np.int64],
    spec: InputSpec,
) -> Mask:
    """The regions where :func:`~neuroprint.embedding.preprocessing.prepare` puts the images: ``(3, X, Y, Z)``.

    A voxel belongs to a region if at least half of it does.
    """
    return prepare_mask(regions_of(label, convention), affine, brain_box, spec) >= 0.5


def dice(predicted: Mask, truth: Mask) -> npt.NDArray[np.float64]:
    """Dice of each region, ``2 |P and T| / (|P| + |T|)``: ``(R, X, Y, Z)`` twice to ``(R,)``; 1 where both are empty."""
    axes = (1, 2, 3)
    total = predicted.sum(axis=axes) + truth.sum(axis=axes)
    both = 2.0 * (predicted & truth).sum(axis=axes)
    return np.where(total == 0, 1.0, both / np.maximum(total, 1))
