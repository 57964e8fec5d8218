"""Tumor positions as they are scored: along the patient's axes, in mm or, as first published, in voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from neuroprint.data.brain_box import box_center
from neuroprint.data.facts import CaseFacts, Target, brain_center_mm, center_mm

if TYPE_CHECKING:
    from neuroprint.data.case import Frame, LabelConvention


def position(facts: CaseFacts, convention: LabelConvention, target: Target, frame: Frame) -> np.ndarray | None:
    """Return the center of the target's region along the patient's axes: x grows to the right, y to the front, z upwards.

    Args:
        facts: The case's facts.
        convention: What the label's numbers mean.
        target: Region, weighting and units.
        frame: ``world`` or ``brain``, as in :func:`neuroprint.data.facts.center_mm`.

    Returns:
        (3,) float64. In mm what ``center_mm`` says. In voxels its plain indices, but counted from the patient's left,
        back and below whatever way the grid runs: ``scipy.ndimage.center_of_mass`` of a label stored so. Distances are
        the same either way, and left stays left. None where the region has no voxel, or there is no label.
    """
    if target.units == "mm":
        return center_mm(facts, convention, target, frame)
    voxel = center_mm(facts, convention, target, "world")
    if voxel is None:
        return None
    origin = _along_patient(facts, box_center(facts.brain_box)) if frame == "brain" else 0.0
    return _along_patient(facts, voxel) - origin


def midline(facts: CaseFacts, target: Target, frame: Frame) -> float:
    """Return the x of the brain box's center in the frame and the units of the positions."""
    if frame == "brain":
        return 0.0
    center = brain_center_mm(facts) if target.units == "mm" else _along_patient(facts, box_center(facts.brain_box))
    return float(center[0])


def _along_patient(facts: CaseFacts, voxel: np.ndarray) -> np.ndarray:
    from nibabel.orientations import io_orientation

    counted = np.empty(3)
    for index, size, (axis, direction) in zip(voxel, facts.shape, io_orientation(facts.affine), strict=True):
        counted[int(axis)] = index if direction > 0 else size - 1 - index
    return counted
