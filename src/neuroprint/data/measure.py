"""Measure a case's voxels, once, when they are read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from nibabel.affines import voxel_sizes

from neuroprint.data.appearance import appearance
from neuroprint.data.brain_box import brain_box, has_background_of_zero
from neuroprint.data.brain_grid import along_patient, shares
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.labels import region_labels
from neuroprint.data.mips import as_gray, as_mask, project

if TYPE_CHECKING:
    from collections.abc import Iterable

    from neuroprint.data.case import LabelConvention
    from neuroprint.data.volume import Volume


def measure(volume: Volume, convention: LabelConvention) -> CaseFacts:
    """Measure what positions, sizes and pictures need, so that the voxels need not be read again.

    Args:
        volume: The case's voxels; the brain's box is that of the modalities it holds.
        convention: What the label's numbers mean.
    """
    box = brain_box(volume.images)
    inside = tuple(slice(start, stop) for start, stop in box)
    shown = volume.modalities.index("flair") if "flair" in volume.modalities else 0
    mips = as_gray(project(volume.images[shown][inside], volume.affine))
    moments = {} if volume.label is None else _moments(volume.label)
    tumor = region_labels(convention, "whole_tumor", moments.keys())
    if volume.label is None or not tumor:
        outlines = {plane: np.zeros(picture.shape, bool) for plane, picture in mips.items()}
    else:
        lookup = np.zeros(256, np.uint8)
        lookup[list(tumor)] = 1
        outlines = as_mask(project(lookup[volume.label[inside]], volume.affine))
    x, y, z = volume.images.shape[1:]
    dx, dy, dz = (float(mm) for mm in voxel_sizes(volume.affine))
    return CaseFacts(
        affine=np.asarray(volume.affine, np.float64),
        shape=(x, y, z),
        spacing=(dx, dy, dz),
        brain_box=box,
        has_label=volume.label is not None,
        label_convention=convention,
        label_moments=moments,
        mips=mips,
        outlines=outlines,
        label_cells={} if volume.label is None else _cells(volume.label, moments, box, volume.affine),
        contents={
            modality: _content(image[inside], volume.affine)
            for modality, image in zip(volume.modalities, volume.images, strict=True)
        },
        appearance=appearance(volume.images, volume.affine, box, volume.modalities),
        shifted=tuple(
            modality
            for modality, image in zip(volume.modalities, volume.images, strict=True)
            if not has_background_of_zero(image)
        ),
    )


def _cells(
    label: np.ndarray, values: Iterable[int], box: np.ndarray, affine: np.ndarray
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    cells = {}
    for value in values:
        filled = np.rint(shares(label == value, box, affine).ravel() * 255).astype(np.uint8)
        reached = np.flatnonzero(filled)
        cells[value] = reached.astype(np.uint16), filled[reached]
    return cells


def _content(image: np.ndarray, affine: np.ndarray) -> str:
    voxels = np.ascontiguousarray(along_patient(image, affine).T, np.float32)  # x fastest, as it mostly lies in memory
    content = hashlib.sha256(repr(voxels.shape).encode())
    content.update(voxels.data)
    return content.hexdigest()[:32]


def _moments(label: np.ndarray) -> dict[int, tuple[int, tuple[float, float, float]]]:
    flat = label.reshape(-1, order="F")  # a view for a label as read, x fastest
    where = np.flatnonzero(flat)
    values = flat[where]
    counts = np.bincount(values)
    axes = np.unravel_index(where, label.shape, order="F")
    means = [np.bincount(values, weights=axis) / np.maximum(counts, 1) for axis in axes]
    return {
        int(value): (int(counts[value]), (float(means[0][value]), float(means[1][value]), float(means[2][value])))
        for value in np.flatnonzero(counts)
    }
