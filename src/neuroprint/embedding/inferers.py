"""How a volume goes through an encoder: whole in one pass, or by sliding windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, Protocol

from neuroprint.encoders.base import Forward, InputSpec, Level
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor


class Inferer(Protocol):
    """Runs one prepared volume through a network."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-able description of everything the maps depend on."""

    def check(self, spec: InputSpec) -> None:
        """Raises NeuroprintError where this inferer cannot serve such a network."""

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> list[Tensor]:
        """``(1, C, X, Y, Z)`` to one ``(1, channels, X/stride, Y/stride, Z/stride)`` a level."""


@dataclass(frozen=True)
class Whole:
    """The whole volume in one forward pass: every voxel sees all the context that the network can use."""

    @property
    def identity(self) -> dict[str, Any]:
        return {"inferer": "whole"}

    def check(self, spec: InputSpec) -> None:
        """Any network can take the whole volume."""

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> list[Tensor]:
        return list(forward(image))


@dataclass(frozen=True)
class Sliding:
    """Overlapping windows, blended at each level's own resolution.

    Windows start at multiples of the network's divisor only, so that every level's cells fall on one common grid: a window
    that starts between two bottleneck cells cannot be stitched without shifting the map.

    Attributes:
        window: Edge of the cubic window in input voxels, a multiple of the network's divisor.
        overlap: Least share of a window that its neighbour covers again, from 0 up to but not including 1.
        blending: ``gaussian`` weighs a window's centre more than its border, ``constant`` does not.
    """

    window: int = 128
    overlap: float = 0.25
    blending: Literal["gaussian", "constant"] = "gaussian"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise NeuroprintError(f"inferer.overlap={self.overlap}: must be at least 0 and less than 1")
        if self.blending not in ("gaussian", "constant"):
            raise NeuroprintError(f"inferer.blending={self.blending}: must be gaussian or constant")

    @property
    def identity(self) -> dict[str, Any]:
        return {"inferer": "sliding", **vars(self)}

    def check(self, spec: InputSpec) -> None:
        if self.window < spec.divisor or self.window % spec.divisor:
            raise NeuroprintError(
                f"inferer.window={self.window}: must be a multiple of {spec.divisor}, the encoder's size divisor"
            )

    def starts(self, size: int, divisor: int) -> list[int]:
        """First voxels of the windows along an axis of ``size`` voxels, all multiples of ``divisor``."""
        window = min(self.window, size)
        step = max(divisor, int(window * (1 - self.overlap)) // divisor * divisor)
        return [*range(0, size - window, step), size - window]

    def __call__(self, image: Tensor, forward: Forward, levels: Sequence[Level]) -> list[Tensor]:
        import torch

        sizes = image.shape[2:]
        divisor = max(level.stride for level in levels)
        maps: list[Tensor] = []
        weights: list[Tensor] = []
        for corner in product(*(self.starts(size, divisor) for size in sizes)):
            window = [slice(start, start + min(self.window, size)) for start, size in zip(corner, sizes, strict=True)]
            for index, (level, features) in enumerate(zip(levels, forward(image[:, :, *window]), strict=True)):
                if index == len(maps):
                    shape = [size // level.stride for size in sizes]
                    maps.append(features.new_zeros((*features.shape[:2], *shape), dtype=torch.float32))
                    weights.append(features.new_zeros(shape, dtype=torch.float32))
                blend = self._blend(features.shape[2:], features.device)
                place = [slice(x.start // level.stride, x.stop // level.stride) for x in window]
                maps[index][:, :, *place] += features * blend
                weights[index][*place] += blend
        return [stitched / weight for stitched, weight in zip(maps, weights, strict=True)]

    def _blend(self, shape: Sequence[int], device: Any) -> Tensor:
        import torch

        blend = torch.ones(tuple(shape), device=device)
        if self.blending == "gaussian":
            for axis, size in enumerate(shape):
                # A standard deviation of an eighth of the window, as in nnU-Net and MONAI.
                position = (torch.arange(size, device=device) - (size - 1) / 2) / (size / 8)
                blend *= torch.exp(-(position**2) / 2).clamp_min(1e-3).view([-1 if i == axis else 1 for i in range(3)])
        return blend
