"""What a ranking is judged by: the relevance of a gallery to queries, before it is ranked and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroprint.evaluation.arrays import Array, Flags


@dataclass(frozen=True, eq=False)
class Judged:
    """What a gallery is worth to queries, (queries, gallery) each, in the order of the gallery.

    Attributes:
        relevant: Whether the gallery's case is relevant to the query.
        gain: Graded gain for nDCG, 0 to 1.
        pairs: Further quantities that metrics look at by name, such as ``distance_mm``; NaN where unknown.
    """

    relevant: Flags
    gain: Array
    pairs: Mapping[str, Array] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of cases in the gallery."""
        return int(self.relevant.shape[1])

    @cached_property
    def count(self) -> npt.NDArray[np.int64]:
        """(queries,) how many of the gallery are relevant."""
        return np.asarray(self.relevant.sum(axis=1), dtype=np.int64)

    def without(self, column: npt.NDArray[np.int64]) -> Judged:
        """The same of galleries that each lack one case: (queries,) which."""
        kept = np.arange(self.size) != column[:, None]

        def left(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.asarray(values[kept].reshape(len(values), self.size - 1))

        pairs = {name: left(values) for name, values in self.pairs.items()}
        return Judged(left(self.relevant), left(self.gain), pairs)

    def ranked(self, order: npt.NDArray[np.int64]) -> Ranked:
        """The same in the order in which each query retrieved the gallery.

        Args:
            order: (queries, gallery) columns, best first.
        """
        pairs = {name: np.take_along_axis(values, order, axis=1) for name, values in self.pairs.items()}
        return Ranked(
            np.take_along_axis(self.relevant, order, axis=1), np.take_along_axis(self.gain, order, axis=1), pairs
        )


@dataclass(frozen=True, eq=False)
class Ranked:
    """As :class:`Judged`, best first for each query."""

    relevant: Flags
    gain: Array
    pairs: Mapping[str, Array] = field(default_factory=dict)

    def without(self, place: int) -> Ranked:
        """The same without the case at a place, from 0: the next one moves up."""
        pairs = {name: np.delete(values, place, axis=1) for name, values in self.pairs.items()}
        return Ranked(np.delete(self.relevant, place, axis=1), np.delete(self.gain, place, axis=1), pairs)

    @cached_property
    def place(self) -> Array:
        """(gallery,) ranks from 1."""
        return np.arange(1, self.relevant.shape[1] + 1, dtype=np.float64)

    @cached_property
    def hits(self) -> npt.NDArray[np.int64]:
        """(queries, gallery) relevant cases up to each rank."""
        return np.asarray(np.cumsum(self.relevant, axis=1), dtype=np.int64)

    @property
    def found(self) -> npt.NDArray[np.int64]:
        """(queries, 1) relevant cases in all."""
        return self.hits[:, -1:]
