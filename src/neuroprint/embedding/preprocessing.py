"""From voxels on disk to what a network wants to see, as its input specification says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroprint.data.brain_box import without_background
from neuroprint.encoders.base import InputSpec, Normalization

FloatArray = npt.NDArray[np.float32]

_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class NetworkInput:
    """One case, ready for a network.

    Attributes:
        image: ``(C, X, Y, Z)`` normalized intensities; padding is zero, and so is background, but for ``box_channelwise``.
        brain: ``(X, Y, Z)`` share of each voxel that is brain, from 0 to 1.
    """

    image: FloatArray
    brain: FloatArray


def prepare(
    images: Sequence[npt.NDArray[np.generic]],
    affine: npt.NDArray[np.float64],
    brain_box: npt.NDArray[np.int64],
    spec: InputSpec,
) -> NetworkInput:
    """Find the background and make it 0, reorient, crop, normalize, resample and pad one case.

    Args:
        images: One ``(X, Y, Z)`` array a channel, in the network's order.
        affine: Voxel indices to world mm, RAS+.
        brain_box: ``(3, 2)`` voxel bounds of the brain, the end exclusive.
        spec: What the network wants.
    """
    turn = Turn.to(spec.orientation, affine)
    box = tuple(slice(start, stop) for start, stop in brain_box)
    # Outside the box all is background: it neither moves the statistics nor needs computing.
    image, brain = normalize([without_background(channel)[box] for channel in images], spec.normalization)
    if spec.crop == "image":
        image, brain = (_uncrop(array, box, images[0].shape) for array in (image, brain))
    image, brain = turn.apply(image), turn.apply(brain)
    if spec.spacing_mm is not None:
        image, brain = (resample(array, turn.spacing, spec.spacing_mm) for array in (image, brain))
    image, brain = (pad_to_multiple(array, spec.divisor) for array in (image, brain))
    return NetworkInput(image, brain[0])


def prepare_mask(
    masks: npt.NDArray[np.bool_],
    affine: npt.NDArray[np.float64],
    brain_box: npt.NDArray[np.int64],
    spec: InputSpec,
) -> FloatArray:
    """Where :func:`prepare` puts masks ``(M, X, Y, Z)``: the share of each voxel that lies inside, ``(M, X', Y', Z')``."""
    turn = Turn.to(spec.orientation, affine)
    box = tuple(slice(start, stop) for start, stop in brain_box)
    image = masks.astype(np.float32) if spec.crop == "image" else masks[:, *box].astype(np.float32)
    image = turn.apply(image)
    if spec.spacing_mm is not None:
        image = resample(image, turn.spacing, spec.spacing_mm)
    return pad_to_multiple(image, spec.divisor)


def normalize(channels: Sequence[npt.NDArray[np.generic]], how: Normalization) -> tuple[FloatArray, FloatArray]:
    """Intensities that can be compared between scanners; zero, the background, stays zero, but for ``box_channelwise``.

    ``nonzero_channelwise`` and ``nonzero_joint`` are MONAI's ``NormalizeIntensity(nonzero=True, channel_wise=...)``.
    ``nonzero_percentile`` is its ``ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True)`` over the voxels that are
    not zero, with zero in the place of the lower percentile where that is positive: background and dark tissue stay apart.
    ``brain_channelwise`` and ``box_channelwise`` are nnU-Net's ``ZScoreNormalization`` (Isensee et al. 2021,
    doi:10.1038/s41592-020-01008-z) with and without ``use_mask_for_norm``; it, too, crops to the box first.

    Args:
        channels: One ``(X, Y, Z)`` array each.
        how: See :class:`~neuroprint.encoders.base.InputSpec`.

    Returns:
        ``(C, X, Y, Z)`` normalized intensities, and ``(1, X, Y, Z)``: 1 where any channel is not zero.
    """
    layout = channels[0].transpose().shape  # as on disk, x fastest
    image = np.empty((len(channels), *layout), np.float32).transpose(0, 3, 2, 1)
    brain = np.zeros((1, *layout), bool).transpose(0, 3, 2, 1)
    for place, channel in enumerate(channels):
        image[place] = channel
        brain[0] |= channel != 0
    if how == "nonzero_percentile":
        _scale_to_percentiles(image)
    elif how in ("nonzero_channelwise", "nonzero_joint"):
        _standardize(image, joint=how == "nonzero_joint")
    else:
        _standardize_within(image, _filled(brain[0]) if how == "brain_channelwise" else np.ones(brain.shape[1:], bool))
    return image, brain.astype(np.float32)


def _standardize(image: FloatArray, joint: bool) -> None:
    """Zero mean and unit variance over the voxels that are not zero, in place: of each channel, or of all together."""
    sums = np.empty((len(image), 3))  # voxels that count, their sum, their sum of squares
    for place, channel in enumerate(image):
        values = channel.ravel(order="K").astype(np.float64)
        sums[place] = np.count_nonzero(values), values.sum(), values @ values
    if joint:
        sums[:] = sums.sum(axis=0)
    for channel, (count, total, squares) in zip(image, sums, strict=True):
        mean = total / max(count, 1)
        deviation = np.sqrt(max(squares / max(count, 1) - mean**2, 0.0)) or 1.0
        inside = channel != 0
        channel -= np.float32(mean)
        channel *= np.float32(1 / deviation)
        channel *= inside


def _standardize_within(image: FloatArray, mask: npt.NDArray[np.bool_]) -> None:
    """Zero mean and unit variance of each channel over a mask, in place; what lies outside stays as it is."""
    for channel in image:
        inside = channel[mask].astype(np.float64)
        if inside.size:
            channel[mask] = (inside - inside.mean()) / max(inside.std(), 1e-8)


def _filled(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    from scipy.ndimage import binary_fill_holes

    filled: npt.NDArray[np.bool_] = binary_fill_holes(mask)
    return filled


def _scale_to_percentiles(image: FloatArray) -> None:
    """From zero, or a negative 0.5th percentile, to the 99.5th of the voxels that are not zero: 0 to 1, in place."""
    for channel in image:
        inside = channel != 0
        low, high = np.percentile(channel[inside], _PERCENTILES) if inside.any() else (0.0, 1.0)
        low = min(low, 0.0)
        channel -= np.float32(low)
        channel *= np.float32(1 / ((high - low) or 1.0))
        np.clip(channel, 0, 1, out=channel)
        channel *= inside


def resample(image: FloatArray, spacing: tuple[float, ...], target_mm: float) -> FloatArray:
    """Resample ``(C, X, Y, Z)`` to isotropic voxels, linearly, without aliasing, about the volume's center.

    Each axis is one matrix of triangle weights, as wide as the coarser of the two grids: the separable filter that image
    libraries call antialiased linear. Sampling about the center keeps both ends of the volume alike.
    """
    # The axis that lies closest in memory first: it needs no copy, and the rest is smaller afterwards.
    for axis in sorted((1, 2, 3), key=lambda axis: abs(image.strides[axis])):
        weights = _triangle_weights(image.shape[axis], spacing[axis - 1], target_mm)
        if weights is None:
            continue
        rows = np.moveaxis(image, axis, -1)
        if rows.strides[-1] != rows.itemsize:
            rows = np.ascontiguousarray(rows)
        image = np.moveaxis(rows @ weights, -1, axis)
    return image


def pad_to_multiple(image: FloatArray, divisor: int) -> FloatArray:
    """Zeros around ``(C, X, Y, Z)`` until every spatial size is a multiple of ``divisor``; the content stays central."""
    gaps = [-size % divisor for size in image.shape[1:]]
    return np.pad(image, [(0, 0), *((gap // 2, gap - gap // 2) for gap in gaps)])


def _triangle_weights(size: int, step: float, target: float) -> FloatArray | None:
    """``(size, new size)`` weights whose columns sum to 1, or None where the grids agree."""
    if abs(step - target) < 1e-3:
        return None
    count = max(1, int(np.ceil(size * step / target - 1e-3)))
    source = (np.arange(size) - (size - 1) / 2) * step
    wanted = (np.arange(count) - (count - 1) / 2) * target
    weights = np.clip(1 - np.abs(source[:, None] - wanted) / max(step, target), 0, None)
    total = weights.sum(axis=0)
    return (weights / np.where(total > 0, total, 1)).astype(np.float32)


def _uncrop(array: FloatArray, box: tuple[slice, ...], shape: tuple[int, ...]) -> FloatArray:
    """Put a cropped ``(C, ...)`` array back into a field of view of zeros."""
    whole = np.zeros((len(array), *shape[::-1]), np.float32).transpose(0, 3, 2, 1)
    whole[:, *box] = array
    return whole


@dataclass(frozen=True)
class Turn:
    """A change of the directions that array axes point to, by flips and swaps alone.

    Attributes:
        source: Old axis of each new axis.
        flipped: Whether each new axis runs backwards along its old one.
        spacing: Voxel size along each new axis, mm.
    """

    source: tuple[int, ...]
    flipped: tuple[bool, ...]
    spacing: tuple[float, ...]

    @classmethod
    def to(cls, orientation: str, affine: npt.NDArray[np.float64]) -> Turn:
        """From a grid as ``affine`` lays it to axes that point as ``orientation`` names them, such as LPS."""
        import nibabel.orientations as orient

        change = orient.ornt_transform(orient.io_orientation(affine), orient.axcodes2ornt(tuple(orientation)))
        source = np.argsort(change[:, 0])
        sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        return cls(
            tuple(int(axis) for axis in source),
            tuple(bool(change[axis, 1] < 0) for axis in source),
            tuple(float(sizes[axis]) for axis in source),
        )

    def apply(self, array: FloatArray) -> FloatArray:
        """A view of ``(C, X, Y, Z)``, turned."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return array.transpose(0, *(1 + axis for axis in self.source))[:, *steps]
