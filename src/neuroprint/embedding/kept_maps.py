"""Feature maps that are small enough to be kept: a pooling thought of later then needs no new forward pass.

Maps are kept as the poolings saw them, in single precision and beside the brain's share of each cell, so that what is
pooled from them is bit for bit what a new pass would give on the same kind of device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from neuroprint.embedding.entry import Entry
from neuroprint.embedding.preprocessing import FloatArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class KeptPart:
    """What was pooled at once: the whole volume, or one window.

    Attributes:
        weight: Its say among the case's parts.
        maps: By level: ``(C, X, Y, Z)`` features and ``(X, Y, Z)``, the brain's share of each cell.
    """

    weight: float
    maps: dict[str, tuple[FloatArray, FloatArray]]


class Keeper:
    """Collects one case's maps: of its levels as many as fit a budget, the smallest first.

    Args:
        budget_mb: Most that all maps of the case may take up, in 10^6 bytes; 0 keeps none.
    """

    def __init__(self, budget_mb: float) -> None:
        self._budget = budget_mb * 1e6
        self._weights: list[float] = []
        self._arrays: dict[str, list[FloatArray]] = {}
        self._sizes: dict[str, int] = {}

    def begin(self, weight: float) -> None:
        """A new part of the volume follows."""
        self._weights.append(weight)

    def add(self, level: str, features: Tensor, share: Tensor) -> None:
        """One level's map of the part: both float32 and laid out row by row."""
        self._sizes[level] = self._sizes.get(level, 0) + 4 * (features.numel() + share.numel())
        if self._sizes[level] > self._budget:
            self._arrays.pop(level, None)  # it does not fit, whatever becomes of the others
        else:
            self._arrays.setdefault(level, []).extend((features.cpu().numpy(), share.cpu().numpy()))

    def entry(self) -> Entry | None:
        """The maps for the store; None where not even the smallest fits."""
        left = self._budget
        arrays: dict[str, FloatArray] = {}
        for level in sorted(self._arrays, key=lambda level: self._sizes[level]):
            left -= self._sizes[level]
            if left < 0:
                break
            arrays |= {f"{level}|{place}": array for place, array in enumerate(self._arrays[level])}
        return Entry(arrays, {"weights": self._weights}) if arrays else None


def kept_levels(entry: Entry) -> set[str]:
    """The levels whose maps an entry holds."""
    return {name.rpartition("|")[0] for name in entry.arrays}


def kept_parts(entry: Entry) -> Iterator[KeptPart]:
    """The parts in the order in which they went through the network."""
    weights: list[Any] = list(entry.note["weights"])
    for part, weight in enumerate(weights):
        maps = {
            level: (entry.arrays[f"{level}|{2 * part}"], entry.arrays[f"{level}|{2 * part + 1}"])
            for level in sorted(kept_levels(entry))
        }
        yield KeptPart(float(weight), maps)
