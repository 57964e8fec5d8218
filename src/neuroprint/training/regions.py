"""BraTS' three overlapping regions on a network's grid, and how well a prediction meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from neuroprint.data.labels import REGIONS, region_labels
from neuroprint.embedding.preprocessing import prepare_mask

if TYPE_CHECKING:
    from torch import Tensor

    from neuroprint.data.case import LabelConvention
    from neuroprint.encoders.base import InputSpec

Mask = npt.NDArray[np.bool_]

SMALLEST_ENHANCING_MM3 = 200.0
"""Less enhancing tumor than this in a whole prediction is taken for none."""


def regions_of(label: npt.NDArray[np.uint8], convention: LabelConvention) -> Mask:
    """Whole tumor, tumor core and enhancing tumor of a label ``(X, Y, Z)``: ``(3, X, Y, Z)``."""
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


def of_like_volume(shares: Tensor) -> Tensor:
    """Regions of interpolated masks ``(3, X, Y, Z)``, from 0 to 1: each has the volume of its mask, ``(3, X, Y, Z)`` bool.

    The voxels with the largest shares are taken. At a threshold of one half, what is thinner than a voxel would be lost
    wherever it falls between two: a rim of enhancing tumor loses a third of its voxels. Whole tumor holds the core, and
    the core what enhances.
    """
    regions = torch.zeros(shares.shape, dtype=torch.bool)
    around = torch.ones(shares.shape[1:], dtype=torch.bool)
    for region, share in zip(regions, shares, strict=True):
        voxels = min(round(float(share.sum())), int(around.sum()))
        region.view(-1)[torch.where(around, share, -1).flatten().topk(voxels).indices] = True
        around = region
    return regions


def dice(predicted: Mask, truth: Mask) -> npt.NDArray[np.float64]:
    """Dice of each region, ``2 |P and T| / (|P| + |T|)``: ``(R, X, Y, Z)`` twice to ``(R,)``; 1 where both are empty."""
    axes = (1, 2, 3)
    total = predicted.sum(axis=axes) + truth.sum(axis=axes)
    both = 2.0 * (predicted & truth).sum(axis=axes)
    return np.where(total == 0, 1.0, both / np.maximum(total, 1))


def without_specks(predicted: Mask, voxel_mm3: float) -> Mask:
    """A prediction ``(3, X, Y, Z)`` whose enhancing tumor is dropped where there is less of it than 200 mm3.

    Where nothing enhances, a few voxels that do turn a Dice of 1 into 0. The rule is that of Isensee et al. 2020
    (arXiv:2011.00848); its size was chosen on phantoms of a training seed. Core and whole tumor keep the voxels.
    """
    if predicted[2].sum() * voxel_mm3 >= SMALLEST_ENHANCING_MM3:
        return predicted
    kept = predicted.copy()
    kept[2] = False
    return kept
