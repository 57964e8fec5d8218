"""What is asked of a case's facts: where its tumor is, on which side, and how large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from neuroprint.data.brain_box import box_center
from neuroprint.data.brain_grid import CELLS
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.measure import measure
from neuroprint.data.labels import check_region, region_labels
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.data.case import Frame, LabelConvention

__all__ = ["CaseFacts", "Target", "brain_center_mm", "center_mm", "is_right", "measure", "region_cells", "volume_cm3"]


@dataclass(frozen=True)
class Target:
    """What is meant by the tumor's position.

    Attributes:
        region: One of :data:`neuroprint.data.labels.REGIONS`.
        weighting: ``binary``: each voxel of the region counts alike. ``label``: each counts by its label's number, as
            ``scipy.ndimage.center_of_mass`` of the label volume does.
        units: ``mm`` in the world by the affine, or ``voxel``: plain indices of the grid.

    Raises:
        NeuroprintError: A value that is none of these.
    """

    region: str = "whole_tumor"
    weighting: Literal["binary", "label"] = "binary"
    units: Literal["mm", "voxel"] = "mm"

    def __post_init__(self) -> None:
        check_region(self.region)
        if self.weighting not in ("binary", "label"):
            raise NeuroprintError(f"there is no weighting '{self.weighting}'; use binary or label")
        if self.units not in ("mm", "voxel"):
            raise NeuroprintError(f"there are no units '{self.units}'; use mm or voxel")


def center_mm(facts: CaseFacts, convention: LabelConvention, target: Target, frame: Frame) -> np.ndarray | None:
    """Return the center of mass of the target's region.

    Args:
        facts: The case's facts.
        convention: What the label's numbers mean.
        target: Region, weighting and units.
        frame: ``world``: as the affine places it; ``brain``: relative to the center of the brain's box.

    Returns:
        (3,) float64, RAS+ mm (x to the patient's right, y to the front, z up), or voxel indices where the target's
        units are ``voxel``; None where the region has no voxel, or there is no label.

    Raises:
        NeuroprintError: The convention is ``any`` and the region only a part of the tumor.
    """
    voxel = _center_voxel(facts, convention, target)
    if voxel is None:
        return None
    if target.units == "voxel":
        return voxel - box_center(facts.brain_box) if frame == "brain" else voxel
    world = _to_world(facts.affine, voxel)
    return world - brain_center_mm(facts) if frame == "brain" else world


def brain_center_mm(facts: CaseFacts) -> np.ndarray:
    """Return the center of the brain's box in world RAS+ mm, (3,) float64."""
    return _to_world(facts.affine, box_center(facts.brain_box))


def volume_cm3(facts: CaseFacts, convention: LabelConvention, region: str = "whole_tumor") -> float | None:
    """Return a region's volume in cm³: 0 where the label has no such voxel, None where there is no label."""
    if not facts.has_label:
        return None
    wanted = region_labels(convention, region, facts.label_moments.keys())
    voxels = sum(count for value, (count, _) in facts.label_moments.items() if value in wanted)
    return float(voxels * abs(np.linalg.det(facts.affine[:3, :3])) / 1000)


def is_right(facts: CaseFacts, convention: LabelConvention, target: Target | None = None) -> bool | None:
    """Tell whether the region's center lies on the patient's right of the brain box's center.

    Always in mm along the patient's axes, whatever the target's units; None where there is no center.
    """
    target = target or Target()
    center = center_mm(facts, convention, Target(target.region, target.weighting), "brain")
    return None if center is None else bool(center[0] > 0)


def region_cells(facts: CaseFacts, convention: LabelConvention, region: str = "whole_tumor") -> np.ndarray:
    """Return the share of each cell of the brain that a region fills, in 255ths.

    Returns:
        (cells,) uint8, cells as in :mod:`neuroprint.data.brain_grid`; all 0 where there is no such voxel.
    """
    wanted = region_labels(convention, region, facts.label_moments.keys())
    filled = np.zeros(CELLS**3, dtype=np.uint16)
    for value, (cells, shares) in facts.label_cells.items():
        if value in wanted:
            filled[cells] += shares
    return np.minimum(filled, 255).astype(np.uint8)


def _center_voxel(facts: CaseFacts, convention: LabelConvention, target: Target) -> np.ndarray | None:
    wanted = region_labels(convention, target.region, facts.label_moments.keys())
    parts = [(value, *facts.label_moments[value]) for value in sorted(wanted) if value in facts.label_moments]
    if not parts:
        return None
    weights = [count * (value if target.weighting == "label" else 1) for value, count, _ in parts]
    return np.average([mean for _, _, mean in parts], axis=0, weights=weights)


def _to_world(affine: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    world: np.ndarray = affine[:3, :3] @ voxel + affine[:3, 3]
    return world
