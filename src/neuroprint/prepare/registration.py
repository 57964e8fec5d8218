"""Rigid registration by mutual information: from many starts, coarse to fine, and the same in every run.

Mattes et al., PET-CT image registration in the chest using free-form deformations, IEEE TMI 22 (2003), as SimpleITK has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.prepare.grids import on_cubes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import SimpleITK as sitk

_BINS = 32
_COARSE_MM, _MIDDLE_MM, _FINE_MM = 8.0, 4.0, 2.0
_TRIED, _KEPT = 6, 2  # starts that go on to the coarse grid, and from it to the middle one
_SHARE = 0.12  # of the voxels, on the finer grids
_SEED = 1


@dataclass(frozen=True)
class Fit:
    """How one image lies on another.

    Attributes:
        transform: From points of the fixed image to points of the moving one, LPS mm; an ``Euler3DTransform``, or an
            ``AffineTransform`` where that was asked for.
        information: Mutual information of the two where they overlap, in nats, times the share that overlaps: two images
            that hardly touch agree too easily.
    """

    transform: sitk.Transform
    information: float


def register(
    fixed: sitk.Image,
    moving: sitk.Image,
    starts: Sequence[sitk.Euler3DTransform],
    fixed_mask: sitk.Image | None = None,
    mask_from_mm: float = _FINE_MM,
    affine: bool = False,
) -> Fit:
    """Lay one image on another; whatever is drawn has a fixed seed. Work within ``one_thread``.

    All starts are looked at with voxels of 8 mm; the best six are followed, the best two of these at 4 mm, and the best
    of these at 2 mm.

    Args:
        fixed: Float32.
        moving: Float32.
        starts: From points of ``fixed`` to points of ``moving``.
        fixed_mask: Where ``fixed`` is compared, not 0, with voxels of ``mask_from_mm`` and less.
        mask_from_mm: Heads are first compared whole: a brain laid half on air shares much information with it.
        affine: Whether the last step may stretch and shear as well.
    """
    levels: list[tuple[sitk.Image, sitk.Image, sitk.Image | None]] = []
    for mm in (_FINE_MM, _MIDDLE_MM, _COARSE_MM):
        fixed, moving = on_cubes(fixed, mm), on_cubes(moving, mm)
        mask = None if fixed_mask is None or mm > mask_from_mm else _mask_on_cubes(fixed_mask, mm, fixed)
        levels.insert(0, (fixed, moving, mask))
    seen = sorted((_optimized(*levels[0], start) for start in starts), key=lambda fit: -fit.information)
    tried = (_optimized(*levels[0], fit.transform, 4.0, 60) for fit in seen[:_TRIED])
    coarse = sorted(tried, key=lambda fit: -fit.information)
    middle = [_optimized(*levels[1], fit.transform, 1.0, 60, _SHARE) for fit in coarse[:_KEPT]]
    best = max(middle, key=lambda fit: fit.information)
    fine = _optimized(*levels[2], best.transform, 0.5, 100, _SHARE)
    if not affine:
        return fine
    return _optimized(*levels[2], _as_affine(fine.transform), 0.5, 200, _SHARE)


def turned_starts(
    center: Sequence[float], onto: Sequence[float], degrees: Sequence[float]
) -> list[sitk.Euler3DTransform]:
    """Starts that lay a center on another, LPS mm, turned by these degrees about each axis and all of them together."""
    import SimpleITK as sitk

    shift = (np.asarray(onto) - np.asarray(center)).tolist()
    starts = []
    for turns in sorted(product(np.radians(degrees), repeat=3), key=lambda turns: np.abs(turns).sum()):
        start = sitk.Euler3DTransform()
        start.SetCenter(list(center))
        start.SetRotation(*map(float, turns))
        start.SetTranslation(shift)
        starts.append(start)
    return starts


def movement(transform: sitk.Transform, points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """How far a transform moves points, as a rotation in degrees and a shift of their center in mm.

    Args:
        transform: Any; of one that is not rigid, the rigid part.
        points: (n, 3), at least four that do not lie in one plane.
    """
    moved = np.array([transform.TransformPoint(point) for point in points.tolist()])
    before, after = points.mean(axis=0), moved.mean(axis=0)
    left, _, right = np.linalg.svd((points - before).T @ (moved - after))
    rotation = right.T @ np.diag([1, 1, np.sign(np.linalg.det(right.T @ left.T))]) @ left.T
    cosine = np.clip((np.trace(rotation) - 1) / 2, -1, 1)
    return float(np.degrees(np.arccos(cosine))), float(np.linalg.norm(after - before))


def _optimized(
    fixed: sitk.Image,
    moving: sitk.Image,
    mask: sitk.Image | None,
    start: sitk.Transform,
    step_mm: float = 1.0,
    steps: int = 0,
    share: float = 1.0,
) -> Fit:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in another order give other last digits
    method.SetMetricAsMattesMutualInformation(_BINS)
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, _SEED)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, step_mm / 500, steps, 0.6, 1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    moved = type(start)(start)
    method.SetInitialTransform(moved, True)
    try:
        if steps:
            method.Execute(fixed, moving)
        information = -float(method.GetMetricValue() if steps else method.MetricEvaluate(fixed, moving))
    except RuntimeError:  # the images do not overlap
        return Fit(moved, -np.inf)
    return Fit(moved, information * _overlap(fixed, moving, mask, moved))


def _overlap(fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image | None, transform: sitk.Transform) -> float:
    """Share of what is compared that comes to lie within the moving image, on every fourth voxel along each axis."""
    import SimpleITK as sitk

    shown = np.ones(fixed.GetSize(), bool) if mask is None else sitk.GetArrayViewFromImage(mask).transpose(2, 1, 0) > 0
    voxels = 4 * np.argwhere(shown[::4, ::4, ::4])
    matrix, center = np.array(transform.GetMatrix()).reshape(3, 3), np.array(transform.GetCenter())
    points = voxels * fixed.GetSpacing() @ np.array(fixed.GetDirection()).reshape(3, 3).T + fixed.GetOrigin()
    moved = (points - center) @ matrix.T + center + transform.GetTranslation()
    index = (moved - moving.GetOrigin()) @ np.array(moving.GetDirection()).reshape(3, 3) / moving.GetSpacing()
    return float(((index >= 0) & (index <= np.array(moving.GetSize()) - 1)).all(axis=1).mean()) if len(voxels) else 0.0


def _mask_on_cubes(mask: sitk.Image, mm: float, like: sitk.Image) -> sitk.Image:
    import SimpleITK as sitk

    share = on_cubes(sitk.Cast(mask != 0, sitk.sitkFloat32), mm)
    return sitk.Resample(sitk.Cast(share > 0.5, sitk.sitkUInt8), like, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def _as_affine(rigid: sitk.Euler3DTransform) -> sitk.AffineTransform:
    import SimpleITK as sitk

    affine = sitk.AffineTransform(3)
    affine.SetCenter(rigid.GetCenter())
    affine.SetMatrix(rigid.GetMatrix())
    affine.SetTranslation(rigid.GetTranslation())
    return affine
