"""Who is scored: ids, patients and tumor positions, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, eq=False)
class Subjects:
    """The scored cases, sorted by id.

    Attributes:
        ids: Case ids, strictly ascending, so that no result can depend on the order in which cases were found.
        patients: Patient of each case.
        centers_mm: (n, 3) tumor centers in the cohort's frame: x grows to the right, y to the front, z upwards. A case
            without a tumor has a row of NaN, which only relevance by metadata accepts.
        right: (n,) whether the center lies right of the brain box's center.
        metadata: Further columns, (n,) values each. None, NaN and the empty string count as missing.
        masks: (n, cells) uint8, the tumor in a brain frame that all cases share: the share of each cell that it fills,
            in 255ths. Only relevance by overlap needs it.

    Raises:
        NeuroprintError: Ids unsorted or repeated, lengths that differ, or centers that are neither known nor NaN.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    centers_mm: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    metadata: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    masks: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        for earlier, later in zip(self.ids, self.ids[1:], strict=False):
            if earlier == later:
                raise NeuroprintError(f"case {later} appears twice: case ids must be unique within a cohort")
            if earlier > later:
                raise NeuroprintError(f"case {later} comes after {earlier}: sort the cases by id")
        centers = np.asarray(self.centers_mm, dtype=np.float64)
        right = np.asarray(self.right, dtype=bool)
        if centers.shape != (n, 3):
            raise NeuroprintError(f"centers_mm has shape {centers.shape}, expected ({n}, 3) for {n} cases")
        lengths = {"patients": len(self.patients), "right": len(right)}
        lengths |= {f"metadata column {name}": len(values) for name, values in self.metadata.items()}
        lengths |= {} if self.masks is None else {"masks": len(self.masks)}
        for name, length in lengths.items():
            if length != n:
                raise NeuroprintError(f"{name} has {length} entries, expected {n}, one per case")
        torn = np.flatnonzero(~np.isfinite(centers).all(axis=1) & ~np.isnan(centers).all(axis=1))
        if torn.size:
            raise NeuroprintError(f"case {self.ids[torn[0]]}: center {centers[torn[0]]} mm is not finite")
        object.__setattr__(self, "centers_mm", centers)
        object.__setattr__(self, "right", right)

    def __len__(self) -> int:
        return len(self.ids)

    def among(self, chosen: npt.NDArray[np.bool_]) -> Subjects:
        """Some of the cases: (n,) which."""
        places = np.flatnonzero(chosen)
        return Subjects(
            ids=tuple(self.ids[place] for place in places),
            patients=tuple(self.patients[place] for place in places),
            centers_mm=self.centers_mm[places],
            right=self.right[places],
            metadata={name: values[places] for name, values in self.metadata.items()},
            masks=None if self.masks is None else self.masks[places],
        )

    @property
    def located(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the case has a tumor center."""
        return known(self.centers_mm)


def known(positions_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(n, 3) -> (n,) which positions are known: a case without a tumor has NaN."""
    return np.asarray(np.isfinite(positions_mm).all(axis=1), dtype=bool)
