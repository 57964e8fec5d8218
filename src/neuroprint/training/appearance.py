"""How tissue looks to a scanner that nobody knows: random contrast, texture, bias, resolution, noise, lost modalities.

The idea is that of SynthSeg (Billot et al. 2023, arXiv:2107.09559): a network that has seen every scanner, real ones
among them, does not mind which it meets. Unlike there, each modality keeps its usual order of tissues most of the time,
since what tells edema from tumor is the contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv3d, interpolate

from neuroprint.phantom.contrast import TEXTURE, signals, slice_matrix
from neuroprint.phantom.types import PHANTOM_MODALITIES, TISSUES

_WHITE = TISSUES.index("white_matter")
_ILL = [TISSUES.index(name) for name in ("edema", "necrosis", "non_enhancing", "enhancing")]


@dataclass(frozen=True)
class AppearanceSettings:
    """How strongly a scanner may differ from the usual one.

    A share of the examples comes from the usual scanner; the strength of the others is drawn between none and these limits.

    Attributes:
        usual: Share of the examples that come from the usual scanner: nothing is exaggerated, lost or exchanged.
        spread: Sigma of the log-normal factor on each tissue's signal, up to this much.
        subtle: A tumor's contrast to white matter is multiplied by a factor from this up to 1.25.
        faint: Chance that it is hardly to be seen in one modality, whatever ``subtle`` says.
        gamma: The signal is raised to a power between ``1 - gamma`` and ``1 + gamma``.
        texture: The phantom's texture is multiplied by up to this much.
        bias: Log-amplitude of the receive field, up to this much.
        blur: Sigma of the blur in voxels, up to this much.
        slices_mm: Thickest slices; thinner than a voxel means none.
        noise: Standard deviation relative to white matter, up to this much.
        lost: Chance that one modality is missing (zero everywhere).
        foreign: Chance that one modality has a contrast that no modality has.
        swapped: Chance that two modalities of like contrast are exchanged.
    """

    usual: float = 0.35
    spread: float = 0.40
    subtle: float = 0.15
    faint: float = 0.25
    gamma: float = 0.35
    texture: float = 2.5
    bias: float = 0.35
    blur: float = 0.8
    slices_mm: float = 8.0
    noise: float = 0.12
    lost: float = 0.08
    foreign: float = 0.06
    swapped: float = 0.04

    def at(self, strength: float) -> AppearanceSettings:
        """These limits at a share of their strength; how often a modality is faint, lost or exchanged stays, but at none."""
        chances = {
            name: getattr(self, name) if strength > 0 else 0.0 for name in ("faint", "lost", "foreign", "swapped")
        }
        return replace(
            self,
            **chances,
            spread=self.spread * strength,
            subtle=1 - (1 - self.subtle) * strength,
            gamma=self.gamma * strength,
            texture=1 + (self.texture - 1) * strength,
            bias=self.bias * strength,
            blur=self.blur * strength,
            slices_mm=self.slices_mm * strength,
            noise=0.02 + (self.noise - 0.02) * strength,
        )


def render(
    tissues: Tensor,
    modalities: Sequence[str],
    spacing_mm: float,
    settings: AppearanceSettings,
    rng: np.random.Generator,
) -> Tensor:
    """Draw the scans of one head.

    Args:
        tissues: ``(T, X, Y, Z)`` memberships in the order of the phantom's tissues, 0 outside the brain.
        modalities: Channels wanted, in order.
        spacing_mm: Voxel size.
        settings: How strongly scanners differ.
        rng: The only source of chance.

    Returns:
        ``(C, X, Y, Z)``: each channel of zero mean and unit variance within the brain, fading to 0 at its edge.
    """
    settings = settings.at(0.0 if rng.random() < settings.usual else rng.random())
    brain = tissues.sum(dim=0).clamp(0, 1)
    shape = tuple(brain.shape)
    table = _table(settings, rng)
    order = [PHANTOM_MODALITIES.index(name) for name in modalities]
    signal = torch.tensordot(torch.from_numpy(table[order]), tissues, dims=1)
    amplitude = torch.tensordot(torch.from_numpy(TEXTURE), tissues, dims=1) * float(rng.uniform(0.3, settings.texture))
    coarse, fine = field(shape, 9.0 / spacing_mm, rng), field(shape, 3.0 / spacing_mm, rng)
    channels = []
    for channel in signal:
        a, b = rng.uniform(0.3, 1.1, 2) * np.where(rng.random(2) < 0.5, -1, 1)
        channel = channel * torch.exp(amplitude * (float(a) * coarse + float(b) * fine))
        channel = channel * torch.exp(float(rng.uniform(0, settings.bias)) * field(shape, 90.0 / spacing_mm, rng))
        channel = channel.clamp(min=0) ** float(1 + rng.uniform(-settings.gamma, settings.gamma))
        channel = _resolution(channel, spacing_mm, settings, rng)
        noise = torch.from_numpy(rng.standard_normal((2, *shape), dtype=np.float32))
        level = float(settings.noise * rng.random() ** 2)
        channel = torch.hypot(channel + level * noise[0], level * noise[1])
        channels.append(standardize(channel, brain))
    image = torch.stack(channels)
    if rng.random() < settings.lost:
        image[rng.integers(len(image))] = 0
    return image


def standardize(channel: Tensor, brain: Tensor) -> Tensor:
    """Zero mean and unit variance over the brain ``(X, Y, Z)``, 0 outside it."""
    weight = brain / brain.sum().clamp(min=1)
    mean = (channel * weight).sum()
    deviation = ((channel - mean) ** 2 * weight).sum().sqrt().clamp(min=1e-6)
    return (channel - mean) / deviation * brain


def field(shape: Sequence[int], blob: float, rng: np.random.Generator) -> Tensor:
    """Smooth noise ``shape`` with blobs of about ``blob`` voxels, of unit variance."""
    nodes = [max(3, round(n / max(blob, 1.0)) + 2) for n in shape]
    drawn = torch.from_numpy(rng.standard_normal((1, 1, *nodes), dtype=np.float32))
    smooth = interpolate(drawn, tuple(shape), mode="trilinear", align_corners=True)[0, 0]
    return (smooth - smooth.mean()) / smooth.std().clamp(min=1e-6)


def _table(settings: AppearanceSettings, rng: np.random.Generator) -> np.ndarray:
    """Signal of every tissue in every modality, ``(4, T)`` float32, in the phantom's order of modalities."""
    table = signals(rng).astype(np.float64)
    table *= np.exp(rng.normal(0, settings.spread * rng.random(), table.shape))
    white = table[:, [_WHITE]]
    contrast = rng.uniform(settings.subtle, 1.25, (len(table), 1))
    if rng.random() < settings.faint:
        contrast[rng.integers(len(table))] = rng.uniform(0, 0.3)
    table[:, _ILL] = white + (table[:, _ILL] - white) * contrast
    if rng.random() < settings.foreign:
        table[rng.integers(len(table))] = rng.uniform(0.2, 2.5, table.shape[1])
    if rng.random() < settings.swapped:
        pair = [PHANTOM_MODALITIES.index(name) for name in (("t1", "t1ce") if rng.random() < 0.5 else ("t2", "flair"))]
        table[pair] = table[pair[::-1]]
    return np.clip(table, 0.02, None).astype(np.float32)


def _resolution(channel: Tensor, spacing_mm: float, settings: AppearanceSettings, rng: np.random.Generator) -> Tensor:
    """Blur, and slices thicker than a voxel along a random axis."""
    sigma = float(rng.uniform(0, settings.blur))
    if sigma > 0.2:
        offsets = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
        kernel /= kernel.sum()
        for axis in range(3):
            shape = [1, 1, 1, 1, 1]
            shape[2 + axis] = 5
            padding = [2 if n == axis else 0 for n in range(3)]
            channel = conv3d(channel[None, None], kernel.reshape(shape), padding=padding)[0, 0]
    slice_mm, axis, phase = float(rng.uniform(0, settings.slices_mm)), int(rng.integers(3)), float(rng.random())
    if slice_mm > spacing_mm and rng.random() < 0.7:
        matrix = torch.from_numpy(slice_matrix(channel.shape[axis], spacing_mm, slice_mm, phase))
        channel = torch.movedim(torch.tensordot(matrix, channel, dims=([1], [axis])), 0, axis)
    return channel
