"""Arrays with an affine, as the rest of neuroprint has them, and SimpleITK's images, back and forth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroprint.errors import CaseError

if TYPE_CHECKING:
    import SimpleITK as sitk

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MOST_SHEAR = 0.01  # of a voxel's axes against right angles; above, what an image shows would be moved
_SMALLEST = 4  # voxels along an axis that smoothing needs


@contextmanager
def one_thread() -> Iterator[None]:
    """SimpleITK works in one thread meanwhile: sums in another order give other last digits, and a fit ends elsewhere."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def to_sitk(case: str, name: str, array: npt.NDArray[np.generic], affine: npt.NDArray[np.float64]) -> sitk.Image:
    """A SimpleITK image of an array (X, Y, Z) and its affine, voxel to world RAS+ mm.

    Raises:
        CaseError: The affine's axes are not at right angles.
    """
    import SimpleITK as sitk

    matrix = (_TO_LPS @ affine)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    left, _, right = np.linalg.svd(matrix / spacing)
    direction = left @ right
    if np.abs(direction - matrix / spacing).max() > _MOST_SHEAR:
        raise CaseError(
            case,
            f"{name} has axes that are not at right angles (a tilted gantry?), expected a grid of boxes; "
            "convert the DICOM files with dcm2niix, which sets that right",
        )
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((_TO_LPS @ affine)[:3, 3].tolist())
    return image


def to_array(image: sitk.Image) -> npt.NDArray[Any]:
    """The voxels of a SimpleITK image, (X, Y, Z)."""
    import SimpleITK as sitk

    array: npt.NDArray[Any] = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return array


def affine_of(image: sitk.Image) -> npt.NDArray[np.float64]:
    """Voxel to world RAS+ mm, (4, 4)."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    turned: npt.NDArray[np.float64] = _TO_LPS @ affine
    return turned


def on_cubes(image: sitk.Image, mm: float, smooth: bool = True) -> sitk.Image:
    """An image on voxels of one size along all its axes, around the same center; smoothed first by half of it."""
    import SimpleITK as sitk

    if smooth and min(image.GetSize()) >= _SMALLEST:
        image = sitk.SmoothingRecursiveGaussian(image, mm / 2)
    size = [int(np.ceil(n * step / mm)) for n, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    direction = np.array(image.GetDirection()).reshape(3, 3)
    origin = np.array(center_of(image)) - direction @ ((np.array(size) - 1) / 2 * mm)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(size)
    resampler.SetOutputSpacing([mm] * 3)
    resampler.SetOutputDirection(image.GetDirection())
    resampler.SetOutputOrigin(origin.tolist())
    resampler.SetInterpolator(sitk.sitkLinear)
    return resampler.Execute(image)


def center_of(image: sitk.Image) -> tuple[float, ...]:
    """The middle of an image's grid, LPS mm."""
    middle: tuple[float, ...] = image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()])
    return middle


def mass_center(image: sitk.Image) -> tuple[float, ...]:
    """The center of mass of an image whose values are at least 0, LPS mm; the grid's middle where all are 0."""
    import SimpleITK as sitk

    weights = sitk.GetArrayViewFromImage(image)
    total = float(weights.sum(dtype=np.float64))
    if total <= 0:
        return center_of(image)
    index = [
        float(weights.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64) @ np.arange(n)) / total
        for axis, n in reversed(list(enumerate(weights.shape)))
    ]
    found: tuple[float, ...] = image.TransformContinuousIndexToPhysicalPoint(index)
    return found


def around_mask(mask: sitk.Image, mm: float) -> sitk.Image:
    """A mask and what lies within some mm of it, on cubes of 4 mm."""
    import SimpleITK as sitk

    coarse = sitk.Cast(on_cubes(sitk.Cast(mask, sitk.sitkFloat32), 4.0) > 0.5, sitk.sitkUInt8)
    apart = sitk.SignedMaurerDistanceMap(coarse, squaredDistance=False, useImageSpacing=True)
    return sitk.Cast(apart <= mm, sitk.sitkUInt8)
