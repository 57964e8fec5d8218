"""The maps taken once per process from the MNI ICBM152 anatomy (Fonov et al., NeuroImage 2011) that nilearn ships."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.phantom.trilinear import interpolate

if TYPE_CHECKING:
    from neuroprint.phantom.types import PhantomFloats

MNI_CENTER = np.array([0.0, -22.0, 9.5], np.float32)
"""Center of mass of the template's brain, MNI mm."""

_PAD = 8
_LOW, _HIGH = np.array([26, 27, 0]), np.array([171, 209, 156])  # the brain's box in the 1 mm template
_ORIGIN = np.array([-98.0, -134.0, -72.0]) + _LOW - _PAD  # MNI mm of the first voxel of the padded crop

# MNI mm for the right side; the left is mirrored.
_Lines = tuple[tuple[tuple[float, float, float], ...], ...]
_SINUSES: _Lines = (
    ((0, 65, 10), (0, 59, 31), (0, 38, 53), (0, 10, 69), (0, -30, 76), (0, -63, 61), (0, -89, 34), (0, -100, 5)),
    ((0, -100, 5), (0, -98, -10), (22, -94, -16), (41, -82, -20), (54, -65, -26), (60, -48, -33)),
    ((0, -38, 4), (0, -50, 8), (0, -68, 0), (0, -90, -8), (0, -98, -10)),
)
_ARTERIES: _Lines = (
    ((3, 6, 12), (2, -12, 15), (1, -28, 10), (0, -38, 4)),
    ((7, 0, -26), (9, 4, -20), (20, 4, -20), (32, 4, -20), (40, -2, -10), (42, -12, 0)),
    ((9, 4, -20), (2, 12, -16), (2, 32, -6), (2, 38, 8), (2, 24, 28), (2, 0, 38)),
    ((0, -24, -48), (0, -18, -32), (0, -16, -20), (10, -20, -18), (20, -30, -12), (18, -50, -2)),
)
_CHOROID: _Lines = (
    ((3, 2, 13), (8, -12, 17), (14, -26, 16), (22, -36, 12), (25, -40, 6), (27, -34, -2), (33, -24, -12)),
)


MAPS = ("fold", "depth", "ventricle", "deep", "artery", "sinus", "choroid")
"""The channels of :attr:`Template.maps`.

fold: -1 in CSF, 0 in gray, 1 in white matter, sharpened. depth: mm below the brain's surface. ventricle: mm to the
lateral ventricles' wall, negative inside. deep: membership of basal ganglia, thalamus and brainstem. artery, sinus
(venous), choroid (plexus): peak 1.
"""


@dataclass(frozen=True)
class Template:
    """Maps on one grid (X, Y, Z) of 1 mm in RAS order.

    Attributes:
        maps: Channels last, (X, Y, Z, 7), as :data:`MAPS` names them.
        depth: That channel alone, (X, Y, Z, 1): it is needed most often.
        widen: Outward direction at the ventricles' wall, fading away from it, on every second voxel, channels last.
    """

    maps: PhantomFloats
    depth: PhantomFloats
    widen: PhantomFloats

    def read(self, mni: PhantomFloats) -> dict[str, PhantomFloats]:
        """Every map by name, (N,), at MNI positions (3, N), in mm."""
        return dict(zip(MAPS, interpolate(self.maps, _index(mni)), strict=True))

    def read_depth(self, mni: PhantomFloats) -> PhantomFloats:
        """Depth (N,) at MNI positions (3, N), in mm."""
        depth: PhantomFloats = interpolate(self.depth, _index(mni))[0]
        return depth

    def read_widen(self, mni: PhantomFloats) -> PhantomFloats:
        """Direction (3, N) in which the ventricles grow, at MNI positions (3, N)."""
        return interpolate(self.widen, (_index(mni) - np.float32(0.5)) / np.float32(2))


def _index(mni: PhantomFloats) -> PhantomFloats:
    index: PhantomFloats = np.subtract(mni, _ORIGIN[:, None], dtype=np.float32)
    return index


def _grid() -> tuple[PhantomFloats, PhantomFloats, PhantomFloats]:
    x, y, z = (
        np.arange(n, dtype=np.float32) + np.float32(o) for n, o in zip(_HIGH - _LOW + 2 * _PAD, _ORIGIN, strict=True)
    )
    return x[:, None, None], y[:, None], z


def _tubes(lines: _Lines, shape: tuple[int, ...], sigma: float) -> PhantomFloats:
    from scipy import ndimage

    volume = np.zeros(shape, np.float32)
    for line in lines:
        corners = np.array(line)
        for a, b in pairwise(corners):
            steps = np.linspace(0, 1, int(2 * np.linalg.norm(b - a)) + 2)[:, None]
            for mirror in ((1, 1, 1), (-1, 1, 1)):
                index = np.round((a + steps * (b - a)) * mirror - _ORIGIN).astype(int)
                volume[tuple(index.T)] = 1.0
    smooth = ndimage.gaussian_filter(volume, sigma, truncate=3)
    peak_1: PhantomFloats = np.minimum(smooth * np.float32(2 * np.pi * sigma**2 * 0.8), 1)
    return peak_1


def _halved(volume: npt.NDArray[np.generic]) -> PhantomFloats:
    x, y, z = (n // 2 for n in volume.shape)
    blocks = volume[: 2 * x, : 2 * y, : 2 * z].astype(np.float32).reshape(x, 2, y, 2, z, 2)
    half: PhantomFloats = blocks.sum(axis=(3, 5)).sum(axis=1) / 8
    return half


def _doubled(half: PhantomFloats, shape: tuple[int, ...]) -> PhantomFloats:
    for axis, length in enumerate(shape):
        at = np.clip((np.arange(length) - 0.5) / 2, 0, half.shape[axis] - 1.001)
        left = at.astype(int)
        part = (at - left).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        low = half.take(left, axis)
        half = low + part * (half.take(left + 1, axis) - low)
    return half


def _signed_distance(inside: npt.NDArray[np.bool_]) -> PhantomFloats:
    """Distance to the border, mm, positive inside; found on half the resolution, which takes an eighth of the time."""
    from scipy import ndimage

    half = _halved(inside) > 0.5
    distance = ndimage.distance_transform_edt(half) - ndimage.distance_transform_edt(~half)
    distance = 2 * (distance - 0.5 * np.sign(distance)).astype(np.float32)
    return _doubled(ndimage.gaussian_filter(distance, 0.5, truncate=3), inside.shape)


def _lateral_ventricles(fluid: PhantomFloats, depth: PhantomFloats) -> npt.NDArray[np.bool_]:
    from scipy import ndimage

    x, _, z = _grid()
    parts, count = ndimage.label((fluid > 0.5) & (depth > 18))
    sizes = ndimage.sum_labels((z > 8) & (np.abs(x) < 30), parts, np.arange(1, count + 1))
    return np.equal(parts, 1 + int(np.argmax(sizes)))


def _sharpened(
    t1: PhantomFloats, gray: PhantomFloats, white: PhantomFloats, brain: npt.NDArray[np.bool_]
) -> PhantomFloats:
    """Signal and class maps in one number, with the contrast that averaging many brains has blurred brought back."""
    from scipy import ndimage

    by_signal = np.interp(t1, [0.2, 0.3, 0.6, 0.66, 0.86, 0.92], [-1, -0.85, -0.1, 0, 0.9, 1]).astype(np.float32)
    by_class = np.clip(white - np.clip(1 - gray - white, 0, 1), -1, 1)
    both = np.where(brain, 0.6 * by_signal + 0.4 * by_class, 0).astype(np.float32)
    around, share = (ndimage.gaussian_filter(_halved(volume), 2.5, truncate=2.5) for volume in (both, brain))
    sharp = both + 0.8 * (both - _doubled(around / np.maximum(share, 0.05), both.shape)) * brain
    valley = ndimage.gaussian_filter(both, 2.2, truncate=2.5) - ndimage.gaussian_filter(both, 0.6, truncate=2.5)
    off_midline = 1 - np.exp(-((_grid()[0] / 11) ** 2))
    deepened: PhantomFloats = sharp - 2.0 * np.clip(valley, 0, 0.25) * brain * off_midline
    return deepened


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The maps; reads and prepares them on the first call of a process (a few seconds)."""
    from nilearn import datasets
    from scipy import ndimage

    def crop(image: object) -> PhantomFloats:
        data = np.asarray(image.get_fdata(dtype=np.float32))  # type: ignore[attr-defined]
        data = data[tuple(slice(a, b) for a, b in zip(_LOW, _HIGH, strict=True))]
        return np.pad(data, _PAD)

    t1 = crop(datasets.load_mni152_template(resolution=1))
    gray = crop(datasets.load_mni152_gm_template(resolution=1))
    white = crop(datasets.load_mni152_wm_template(resolution=1))
    brain = t1 > 0
    depth = _signed_distance(brain)
    fold = _sharpened(t1, gray, white, brain)
    x, y, z = _grid()

    center = ((np.abs(x) / 34) ** 4 + ((y + 4) / 32) ** 4 + ((z - 4) / 20) ** 4) < 1
    stem = ((x / 22) ** 2 + ((y + 26) / 16) ** 2 < 1) & (z < -2)
    deep = _doubled(ndimage.gaussian_filter(_halved(center | stem), 0.8), t1.shape)

    ventricle = -_signed_distance(_lateral_ventricles(brain * (1 - gray - white), depth))
    # Where the two hemispheres' cortex was averaged into one gray sheet, the fissure is cut again.
    sheet = (
        np.exp(-((x / 1.3) ** 2))
        * brain
        * (np.abs(fold) < 1.1)
        * (depth < 45)
        * np.maximum(z > 18, (y > 30) | (y < -62))
    )
    fold = fold - 1.3 * sheet * (1 - deep)

    wall = ndimage.gaussian_filter(_halved(ventricle), 1.0)
    near = np.exp(-((np.maximum(wall, 0) / 12) ** 2))
    widen = np.stack([near * slope / 2 for slope in np.gradient(wall)], axis=-1, dtype=np.float32)
    artery, sinus = _tubes(_ARTERIES, t1.shape, 1.1), _tubes(_SINUSES, t1.shape, 2.0)
    choroid = _tubes(_CHOROID, t1.shape, 1.6) * (ventricle < 0.5)
    maps = np.empty((*t1.shape, len(MAPS)), np.float32)
    for plane, *parts in zip(maps, fold, depth, ventricle, deep, artery, sinus, choroid, strict=True):
        plane[...] = np.stack(parts, axis=-1)
    return Template(maps, depth[..., None], widen)
