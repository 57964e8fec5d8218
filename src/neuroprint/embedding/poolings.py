"""Poolings: a feature map becomes a vector. Each is one pure function.

Every pooling takes

- ``features``: ``(C, X, Y, Z)``, one level's map of one case, float32;
- ``brain``: ``(X, Y, Z)``, the share of each cell that lies in the brain, from 0 to 1;

and returns a vector. Parameters beyond these two come from the pooling's YAML file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Pooling(Protocol):
    """A function from a feature map and the brain's share of each of its cells to a vector."""

    def __call__(self, features: Tensor, brain: Tensor) -> Tensor: ...


def mean(features: Tensor, brain: Tensor) -> Tensor:
    """Average of each channel over all cells: ``(C,)``."""
    return features.mean(dim=(1, 2, 3))


def max(features: Tensor, brain: Tensor) -> Tensor:
    """Largest value of each channel over all cells: ``(C,)``."""
    return features.amax(dim=(1, 2, 3))
