"""From tissue to signal: contrast by modality, receive bias, slices, noise and scanner units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroprint.phantom.noise import noise
from neuroprint.phantom.types import PHANTOM_MODALITIES, TISSUES, PhantomFloats

# Signal relative to white matter in T1, gray in the others; order of TISSUES.
_SIGNAL = {
    #         csf  ventr cort  deep  white lesn  chor  vess  dura  oedem necr  non-e enh
    "flair": (0.36, 0.22, 1.14, 1.00, 0.84, 1.65, 0.95, 0.55, 0.80, 1.85, 0.95, 1.55, 1.45),
    "t1": (0.46, 0.33, 0.80, 0.87, 1.00, 0.86, 0.70, 0.72, 1.20, 0.78, 0.56, 0.70, 0.78),
    "t1ce": (0.46, 0.34, 0.85, 0.90, 1.00, 0.88, 2.30, 2.60, 1.70, 0.80, 0.50, 0.74, 2.20),
    "t2": (3.10, 3.70, 1.15, 0.95, 0.80, 1.40, 1.90, 1.10, 0.90, 1.85, 2.90, 1.75, 1.55),
}
# How much the signal of a tissue varies from case to case, as the sigma of a log-normal.
_SPREAD = (0.12, 0.08, 0.05, 0.04, 0.02, 0.10, 0.15, 0.25, 0.30, 0.10, 0.18, 0.10, 0.16)
_UNITS = {"flair": 900.0, "t1": 800.0, "t1ce": 1700.0, "t2": 500.0}
# Texture within tissue: relative amplitude; order of TISSUES.
TEXTURE = np.array([0.12, 0.04, 0.045, 0.035, 0.022, 0.08, 0.25, 0.25, 0.25, 0.06, 0.09, 0.08, 0.22], np.float32)
_NECROSIS, _FLAIR = TISSUES.index("necrosis"), PHANTOM_MODALITIES.index("flair")


@dataclass(frozen=True)
class Scanner:
    """How a family of scanners sees; by default as those of the default phantoms do.

    Attributes:
        contrast: Exponent on the signal of tissues: above 1 they differ more, below 1 less.
        noise: Factor on the level of the noise.
        bias: Factor on the logarithm of the receive field.
    """

    contrast: float = 1.0
    noise: float = 1.0
    bias: float = 1.0


USUAL = Scanner()
"""The scanner of the default phantoms."""


def signals(rng: np.random.Generator, scanner: Scanner = USUAL) -> PhantomFloats:
    """Signal of every tissue in every modality (4, T), drawn for one case."""
    table = np.array([_SIGNAL[m] for m in PHANTOM_MODALITIES]) * np.exp(rng.normal(0, 1, (4, len(TISSUES))) * _SPREAD)
    table[_FLAIR, _NECROSIS] *= np.exp(rng.normal(0, 0.4))  # protein decides how dark a cyst is
    table *= table ** (scanner.contrast - 1)
    return np.asarray(table, np.float32)


def texture(tissues: PhantomFloats, points: PhantomFloats, rng: np.random.Generator) -> PhantomFloats:
    """Factor on the signal (4, N) that makes tissue (T, N) grainy, more so in tumor and fluid."""
    amplitude = TEXTURE @ tissues
    coarse, fine = noise(points, 9.0, rng), noise(points, 3.0, rng)
    weights = rng.uniform(0.5, 1.1, (4, 2)) * np.where(rng.random((4, 2)) < 0.5, -1, 1)
    grain = np.stack([a * coarse + b * fine for a, b in weights])
    factor: PhantomFloats = np.exp(amplitude * grain, dtype=np.float32)
    return factor


def bias(
    nodes: PhantomFloats, depth: PhantomFloats, rng: np.random.Generator, scanner: Scanner = USUAL
) -> PhantomFloats:
    """Receive field of the four modalities (4, N) at head positions (3, N): smooth, and brighter near the coil."""
    fields = [
        rng.uniform(0.02, 0.07) * noise(nodes, 90.0, rng)
        + rng.uniform(-0.06, 0.16) * np.exp(-np.maximum(depth, 0) / 14)
        for _ in PHANTOM_MODALITIES
    ]
    return np.exp(np.stack(fields) * scanner.bias).astype(np.float32)


def slice_matrix(length: int, spacing_mm: float, slice_mm: float, phase: float) -> PhantomFloats:
    """Averages over slices of ``slice_mm`` and interpolates back: (length, length), rows sum to 1."""
    centers = np.arange(phase * slice_mm, length * spacing_mm + slice_mm, slice_mm)
    at = (np.arange(length) + 0.5) * spacing_mm
    overlap = (slice_mm + spacing_mm) / 2 - np.abs(centers[:, None] - at)
    average = np.clip(overlap, 0, min(slice_mm, spacing_mm))
    empty = np.flatnonzero(average.sum(axis=1) == 0)  # beyond the volume: the nearest voxel
    average[empty, np.abs(centers[empty, None] - at).argmin(axis=1)] = 1.0
    average /= average.sum(axis=1, keepdims=True)
    position = np.clip((at - centers[0]) / slice_mm, 0, len(centers) - 1.001)
    left = position.astype(int)
    back = np.zeros((length, len(centers)))
    back[np.arange(length), left] = 1 - (position - left)
    back[np.arange(length), left + 1] += position - left
    return (back @ average).astype(np.float32)


def acquire(
    volume: PhantomFloats,
    brain: npt.NDArray[np.bool_],
    spacing_mm: float,
    rng: np.random.Generator,
    thick: float,
    units: float,
    scanner: Scanner = USUAL,
) -> npt.NDArray[np.int16]:
    """One image from noiseless signal (X, Y, Z) with tissue around the brain: slices, Rician noise, mask, integers."""
    from scipy import ndimage

    axis = 2 if rng.random() < 0.85 else int(rng.integers(2))
    slice_mm, phase, level = rng.uniform(3.0, 6.0), rng.random(), np.exp(rng.normal(np.log(0.016), 0.35))
    blur = rng.uniform(0.2, 0.6)
    is_thick = rng.random() < thick
    if spacing_mm < 1.5:
        volume = ndimage.gaussian_filter(volume, blur / spacing_mm, truncate=2.5)
    if is_thick and slice_mm > spacing_mm:
        matrix = slice_matrix(volume.shape[axis], spacing_mm, slice_mm, phase)
        volume = np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)
    level = np.float32(level * scanner.noise / max(spacing_mm, 1.0) ** 0.5)
    real, imaginary = (rng.standard_normal(volume.shape, dtype=np.float32) for _ in range(2))
    if spacing_mm < 1.5:
        real = ndimage.gaussian_filter(real, 0.5 / spacing_mm, truncate=2.5) * np.float32(1.8)
    noisy = np.hypot(volume + level * real, level * imaginary)
    return np.where(brain, np.clip(np.rint(noisy * np.float32(units)), 1, 32000), 0).astype(np.int16)


def draw_units(rng: np.random.Generator) -> dict[str, float]:
    """Scanner units of signal 1 in each modality."""
    return {m: float(u * np.exp(rng.normal(0, 0.4))) for m, u in _UNITS.items()}


THICK = {"flair": 0.35, "t1": 0.55, "t1ce": 0.15, "t2": 0.4}
"""Share of cases whose modality was acquired in thick slices."""
