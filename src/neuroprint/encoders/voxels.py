"""The naive embedding: the scan itself, down-sampled. Comparing it is pixel-by-pixel subtraction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from neuroprint.encoders.base import Forward, InputSpec, Level
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from torch import Tensor


class VoxelEncoder:
    """Average of the normalized intensities in each cell of a fixed grid over the whole field of view.

    The grid does not follow the head: that is what makes it naive. With Euclidean similarity, the distance of two
    embeddings is the root of the summed squared differences of the down-sampled images.

    Args:
        cells: Cells along each axis. For a BraTS field of view of 240 x 240 x 155 mm, 16 x 16 x 10 cells measure 15 mm.
        modalities: Channels to compare; empty for all that the cohort has.
    """

    trained = True
    default_level = "voxels"
    similarity = "euclidean"

    def __init__(self, cells: tuple[int, int, int] = (16, 16, 10), modalities: Sequence[str] = ()) -> None:
        if min(cells) < 1:
            raise NeuroprintError(f"encoder.cells={list(cells)}: must be at least 1 along each axis")
        self.cells = (cells[0], cells[1], cells[2])
        self.input = InputSpec(tuple(modalities), normalization="nonzero_channelwise", crop="image")

    @property
    def levels(self) -> tuple[Level, ...]:
        return (Level("voxels", channels=None, stride=1),)

    @cached_property
    def identity(self) -> dict[str, Any]:
        return {"network": "voxels", "cells": list(self.cells)}

    def load(self, device: str) -> Forward:
        from torch.nn.functional import adaptive_avg_pool3d

        def average_cells(batch: Tensor) -> list[Tensor]:
            return [adaptive_avg_pool3d(batch.to(device), self.cells).flatten(1)[..., None, None, None]]

        return average_cells
