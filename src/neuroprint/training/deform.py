"""Random placement of a head in the network's field of view. No left-right flips: side must survive in the features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import grid_sample, interpolate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class DeformSettings:
    """How far a head may be moved. Angles in degrees, lengths in voxels, scales as factors; each up to this much.

    Attributes:
        turn: Rotation about each axis.
        shift: Translation along each axis.
        scale: Common enlargement or reduction, as a share.
        stretch: Further enlargement or reduction of each axis by itself, as a share.
        bend: Elastic displacement, as the standard deviation at the nodes of a coarse grid.
        chance: Share of the examples that are moved at all.
    """

    turn: float = 12.0
    shift: float = 4.0
    scale: float = 0.12
    stretch: float = 0.05
    bend: float = 1.2
    chance: float = 0.9


def deform(maps: Tensor, size: Sequence[int], settings: DeformSettings, rng: np.random.Generator) -> Tensor:
    """Maps ``(M, X, Y, Z)``, centered in a field of view of ``size`` voxels and moved at random, linearly interpolated.

    Returns:
        ``(M, *size)`` float32; zero beyond the maps.
    """
    moved = rng.random() < settings.chance
    matrix = _affine(settings, rng) if moved else np.eye(3)
    shift = rng.uniform(-settings.shift, settings.shift, 3) if moved else np.zeros(3)
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    at = at @ torch.from_numpy(matrix.astype(np.float32)).T + torch.from_numpy(shift.astype(np.float32))
    if moved and settings.bend > 0:
        nodes = rng.normal(0, settings.bend * rng.random(), (1, 3, *(int(n) for n in rng.integers(4, 8, 3))))
        bent = interpolate(
            torch.from_numpy(nodes.astype(np.float32)), tuple(size), mode="trilinear", align_corners=True
        )
        at = at + bent[0].permute(1, 2, 3, 0)
    half = torch.tensor([n / 2 for n in maps.shape[1:]])
    where = (at / half).flip(-1)  # grid_sample names the last axis first, from -1 to 1 at the outer faces
    return grid_sample(maps.float()[None], where[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def _affine(settings: DeformSettings, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    a, b, c = np.deg2rad(rng.uniform(-settings.turn, settings.turn, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    common = 1 + rng.uniform(-settings.scale, settings.scale)
    scales = common * (1 + rng.uniform(-settings.stretch, settings.stretch, 3))
    matrix: npt.NDArray[np.float64] = about_z @ about_y @ about_x @ np.diag(scales)
    return matrix
