"""What is asked of a case's facts: where its tumor is, on which side, how large, and of what it consists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from neuroprint.data.brain_box import box_center
from neuroprint.data.brain_grid import CELLS
from neuroprint.data.labels import region_labels
from neuroprint.data.mips import projected_mm

if TYPE_CHECKING:
    from neuroprint.data.case import Frame
    from neuroprint.data.case_facts import CaseFacts

Weighting = Literal["binary", "label"]
TUMOR_PARTS = ("necrosis", "edema", "enhancement")
"""What a tumor consists of; necrosis includes what of the core does not enhance."""


def center_mm(
    facts: CaseFacts, region: str = "whole_tumor", weighting: Weighting = "binary", frame: Frame = "world"
) -> np.ndarray | None:
    """The center of mass of a region of the tumor.

    Args:
        facts: The case's facts.
        region: One of :data:`neuroprint.data.labels.REGIONS`.
        weighting: ``binary``: each voxel of the region counts alike. ``label``: each counts by its label's number, as
            ``scipy.ndimage.center_of_mass`` of the label volume does.
        frame: ``world``: as the affine places it; ``brain``: relative to the center of the brain's box.

    Returns:
        (3,) float64, RAS+ mm (x to the patient's right, y to the front, z up); None where the region has no voxel, or
        there is no label.

    Raises:
        NeuroprintError: The label convention is ``any`` and the region only a part of the tumor.
    """
    wanted = region_labels(facts.label_convention, region, facts.label_moments.keys())
    parts = [(value, *facts.label_moments[value]) for value in sorted(wanted) if value in facts.label_moments]
    if not parts:
        return None
    weights = [count * (value if weighting == "label" else 1) for value, count, _ in parts]
    world = _to_world(facts.affine, np.average([mean for _, _, mean in parts], axis=0, weights=weights))
    return world - brain_center_mm(facts) if frame == "brain" else world


def brain_center_mm(facts: CaseFacts) -> np.ndarray:
    """The center of the brain's box in world RAS+ mm, (3,) float64."""
    return _to_world(facts.affine, box_center(facts.brain_box))


def picture_mm(facts: CaseFacts) -> dict[str, tuple[float, float]]:
    """Height and width of a case's small pictures in mm, by plane: pixels of two cases differ in size."""
    return projected_mm(np.diff(facts.brain_box, axis=1)[:, 0], facts.affine)


def midline_mm(facts: CaseFacts, frame: Frame) -> float:
    """The x of the brain box's center in a frame, mm."""
    return 0.0 if frame == "brain" else float(brain_center_mm(facts)[0])


def volume_cm3(facts: CaseFacts, region: str = "whole_tumor") -> float | None:
    """A region's volume in cm³: 0 where the label has no such voxel, None where there is no label."""
    if not facts.has_label:
        return None
    return float(_voxels(facts, region) * abs(np.linalg.det(facts.affine[:3, :3])) / 1000)


def tissue_shares(facts: CaseFacts) -> np.ndarray | None:
    """The shares of the whole tumor that are necrosis, edema and enhancement.

    Returns:
        (3,) float64 in the order of :data:`TUMOR_PARTS`, with the sum 1; None where the label has no tumor, or there is none.

    Raises:
        NeuroprintError: The label convention is ``any``.
    """
    whole, core, enhancing = (_voxels(facts, region) for region in ("whole_tumor", "tumor_core", "enhancing"))
    if not whole:
        return None
    return np.array([core - enhancing, whole - core, enhancing], dtype=np.float64) / whole


def is_right(facts: CaseFacts, region: str = "whole_tumor", weighting: Weighting = "binary") -> bool | None:
    """Whether a region's center lies on the patient's right of the brain box's center; None where there is no center."""
    center = center_mm(facts, region, weighting, "brain")
    return None if center is None else bool(center[0] > 0)


def region_cells(facts: CaseFacts, region: str = "whole_tumor") -> np.ndarray:
    """The share of each cell of the brain that a region fills, in 255ths.

    Returns:
        (cells,) uint8, cells as in :mod:`neuroprint.data.brain_grid`; all 0 where there is no such voxel.
    """
    wanted = region_labels(facts.label_convention, region, facts.label_moments.keys())
    filled = np.zeros(CELLS**3, dtype=np.uint16)
    for value, (cells, shares) in facts.label_cells.items():
        if value in wanted:
            filled[cells] += shares
    return np.minimum(filled, 255).astype(np.uint8)


def octant_shares(facts: CaseFacts, region: str = "whole_tumor") -> np.ndarray | None:
    """The share of a region that lies in each eighth of the brain's box.

    Returns:
        (2, 2, 2) float64 with the sum 1: left and right, back and front, down and up; None where the region fills no cell.
    """
    half = CELLS // 2
    filled = region_cells(facts, region).reshape(2, half, 2, half, 2, half).sum(axis=(1, 3, 5), dtype=np.float64)
    total = filled.sum()
    return np.asarray(filled / total) if total else None


def _voxels(facts: CaseFacts, region: str) -> int:
    wanted = region_labels(facts.label_convention, region, facts.label_moments.keys())
    return sum(count for value, (count, _) in facts.label_moments.items() if value in wanted)


def _to_world(affine: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    world: np.ndarray = affine[:3, :3] @ voxel + affine[:3, 3]
    return world
