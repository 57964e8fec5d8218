"""Grids in BraTS' field of view, and the pose of a head in them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from neuroprint.phantom.types import PhantomFloats

HEAD_CENTER = np.array([-119.5, 111.0, 76.0], np.float32)
"""Where the brain's center of mass lies in BraTS' world, mm, on average."""

_FIELD_MM = (240, 240, 155)


@dataclass(frozen=True)
class Grid:
    """Voxels over BraTS' field of view: 240 x 240 x 155 of 1 mm, or fewer and larger over the same space.

    Attributes:
        spacing_mm: Edge of a voxel.
        shape: Voxels along left, back and up.
        affine: Voxel index to world mm (4, 4).
    """

    spacing_mm: float
    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

    def points(self, low: npt.NDArray[np.int_], high: npt.NDArray[np.int_]) -> PhantomFloats:
        """World mm (3, N) of the voxels in the box ``low <= index < high``, in C order."""
        step, origin = np.diag(self.affine)[:3], self.affine[:3, 3]
        axes = [np.arange(a, b) * s + o for a, b, s, o in zip(low, high, step, origin, strict=True)]
        mesh = np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij")
        return np.stack([axis.ravel() for axis in mesh])


def brats_grid(spacing_mm: float) -> Grid:
    """The grid whose field of view begins at the outer faces of BraTS' first voxel, whatever the spacing."""
    half = (spacing_mm - 1) / 2
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (-half + 0.0, 239 - half, half)
    x, y, z = (ceil(round(length / spacing_mm, 6)) for length in _FIELD_MM)
    return Grid(spacing_mm, (x, y, z), affine)


def draw_pose(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A similarity (4, 4) about the head's center: turns of 15 degrees, shifts of 10 mm, scales 0.9 to 1.1."""
    pitch, roll, yaw = np.deg2rad(rng.uniform(-15, 15, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_y @ about_x * rng.uniform(0.9, 1.1)
    matrix[:3, 3] = HEAD_CENTER - matrix[:3, :3] @ HEAD_CENTER + rng.uniform(-10, 10, 3)
    return matrix


def scale_of(pose: npt.NDArray[np.float64]) -> float:
    """How much a pose enlarges lengths."""
    return float(np.cbrt(np.linalg.det(pose[:3, :3])))


def kept_inside(pose: npt.NDArray[np.float64], brain: PhantomFloats) -> npt.NDArray[np.float64]:
    """The pose, shifted so that the brain's points (3, N), in head mm, stay in the field of view if they fit."""
    placed = pose[:3, :3] @ brain + pose[:3, 3:]
    low, high = placed.min(axis=1), placed.max(axis=1)
    first = np.array([0.5 - _FIELD_MM[0], 239.5 - _FIELD_MM[1], -0.5])
    last = first + _FIELD_MM
    over, under = np.maximum(high - last, 0), np.maximum(first - low, 0)
    too_long = high - low > last - first
    centered = (first + last - low - high) / 2
    moved = pose.copy()
    moved[:3, 3] += np.where(too_long, centered, under - over)
    return moved


def apply(matrix: PhantomFloats, points: PhantomFloats) -> PhantomFloats:
    """Points (3, N) through an affine (4, 4), in float32."""
    moved = matrix[:3, :3].astype(np.float32) @ points + matrix[:3, 3:].astype(np.float32)
    return np.asarray(moved, np.float32)
