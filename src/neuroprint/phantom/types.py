"""What a phantom is, and the names of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PhantomFloats = npt.NDArray[np.floating[Any]]
"""Arrays of numbers; float32 wherever there are many."""

GENERATOR_VERSION = 1
"""Rises whenever the same seed gives other voxels."""

PHANTOM_DATASETS = ("phantom", "phantom_clinic")
"""Names of the datasets that are written where they are missing."""

PHANTOM_MODALITIES = ("flair", "t1", "t1ce", "t2")

TISSUES = (
    "csf",
    "ventricle",
    "cortex",
    "deep_gray",
    "white_matter",
    "white_lesion",
    "choroid",
    "vessel",
    "dura",
    "edema",
    "necrosis",
    "non_enhancing",
    "enhancing",
)
"""Order of the first axis of :attr:`Phantom.tissues`; within the brain the memberships sum to 1."""


@dataclass(frozen=True)
class PhantomSettings:
    """What a user can choose about phantoms.

    Attributes:
        spacing_mm: Voxel size; the field of view stays that of BraTS.
        pose_jitter: Whether heads are turned (15 degrees), shifted (10 mm) and scaled (0.9 to 1.1). Anatomy and
            tumor of a seed do not depend on it.
        clinic: Whether the patients are those of the clinic, who have a grade, a scanner and so on: see
            :class:`neuroprint.phantom.dataset.ClinicFormat`.
    """

    spacing_mm: float = 2.0
    pose_jitter: bool = False
    clinic: bool = False


@dataclass(frozen=True)
class Phantom:
    """One made-up patient on a grid (X, Y, Z) in LPS voxel order.

    Attributes:
        images: int16 volume by modality (``flair``, ``t1``, ``t1ce``, ``t2``), exactly 0 outside the brain.
        label: uint8 volume: 1 necrotic and non-enhancing core, 2 edema, 4 enhancing tumor.
        affine: Voxel index to world mm (4, 4).
        tissues: float32 soft membership (T, X, Y, Z) of :data:`TISSUES`; 0 outside the brain.
        pose: Head mm to world mm (4, 4); the identity without pose jitter.
        centers: Centers of the tumor's foci in head mm (F, 3).
    """

    images: dict[str, npt.NDArray[np.int16]]
    label: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]
    tissues: PhantomFloats
    pose: npt.NDArray[np.float64]
    centers: PhantomFloats
