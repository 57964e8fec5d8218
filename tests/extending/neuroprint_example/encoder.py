"""An encoder: a class that says what it wants to see, names its levels, and gives their feature maps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d

from neuroprint.encoders.base import Forward, InputSpec, Level


class EdgeEncoder:
    """How strongly the intensities change along each axis, at three resolutions. It has no weights.

    Args:
        modalities: Channel order.
        spacing_mm: Edge of the voxels that a scan is resampled to.
    """

    trained = True  # False would call every run of it untrained
    default_level = "edges4"

    def __init__(self, modalities: Sequence[str], spacing_mm: float = 4.0) -> None:
        self.input = InputSpec(tuple(modalities), spacing_mm, divisor=4)
        self.levels = tuple(Level(f"edges{stride}", 3 * len(modalities), stride) for stride in (1, 2, 4))

    @property
    def identity(self) -> dict[str, Any]:
        """Equal identities give equal features: raise the version when the code changes its numbers."""
        return {"network": "edges", "version": 1}

    def load(self, device: str) -> Forward:
        """A function from ``(B, C, X, Y, Z)`` to one map a level."""

        def forward(batch: Tensor) -> list[Tensor]:
            image = batch.to(device)
            edges = torch.cat([(image - image.roll(1, dims=axis)).abs() for axis in (2, 3, 4)], dim=1)
            return [avg_pool3d(edges, level.stride) for level in self.levels]

        return forward
