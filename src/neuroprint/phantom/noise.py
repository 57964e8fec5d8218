"""Smooth random fields as functions of position, so that a case is the same at any spacing and in any pose."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from neuroprint.phantom.trilinear import interpolate

if TYPE_CHECKING:
    from neuroprint.phantom.types import PhantomFloats

_SIZE = 96
_SIGMA = 2.0


@lru_cache(maxsize=1)
def _bank() -> PhantomFloats:
    """Periodic, band-limited, unit-variance noise (97, 97, 97, 1); cases look at it from random places and angles."""
    from scipy import fft

    white = np.random.default_rng(152).standard_normal((_SIZE,) * 3, dtype=np.float32)
    frequency = fft.fftfreq(_SIZE)[:, None, None] ** 2 + fft.fftfreq(_SIZE)[:, None] ** 2 + fft.fftfreq(_SIZE) ** 2
    smooth = fft.ifftn(fft.fftn(white) * np.exp(-2 * (np.pi * _SIGMA) ** 2 * frequency)).real
    smooth = (smooth - smooth.mean()) / smooth.std()
    return np.pad(smooth.astype(np.float32), (0, 1), mode="wrap")[..., None]


def random_rotation(rng: np.random.Generator) -> PhantomFloats:
    """A rotation matrix (3, 3), uniform over all turns."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return q.astype(np.float32)


def noise(points: PhantomFloats, scale_mm: float, rng: np.random.Generator) -> PhantomFloats:
    """Unit-variance noise with blobs of about ``scale_mm`` at ``points`` (3, N), in mm; returns (N,).

    Draws the same amount from ``rng`` whatever the points are.
    """
    turn = random_rotation(rng) * np.float32(2 * _SIGMA / scale_mm)
    start = rng.uniform(0, _SIZE, 3).astype(np.float32)
    where = turn @ points + start[:, None]
    where -= np.float32(_SIZE) * np.floor(where / np.float32(_SIZE))
    values: PhantomFloats = interpolate(_bank(), where)[0]
    return values
