"""``task=overlap``: which tumors fill the same part of the brain? Relevant are cases whose tumor overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from neuroprint.data.facts import region_cells
from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.question import Question
from neuroprint.evaluation.ranked import Judged
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.tasks.located import AXES, Located, distance_pairs
from neuroprint.tasks.task import is_number, require

if TYPE_CHECKING:
    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts


@dataclass(frozen=True, kw_only=True)
class Overlap(Located):
    """The part of the brain that the tumor fills, in a common frame: the brain's box cut into equally many cells.

    The probe predicts the center of mass in mm. A gallery case is relevant if the Dice coefficient of the two tumors is
    ``min_dice`` or more. The ideal ranking is by the Dice coefficient. The box removes place and size of a head, not its
    tilt.

    Attributes:
        min_dice: Least Dice coefficient of a relevant case.

    Example:
        >>> Overlap(min_dice=0.5, region="tumor_core").relevance
        'whose tumor overlaps by a Dice of 0.5 in a common brain frame'
    """

    min_dice: float = 0.3

    name: ClassVar[str] = "overlap"

    def __post_init__(self) -> None:
        super().__post_init__()
        sound = is_number(self.min_dice) and 0 < self.min_dice <= 1
        require(sound, self.name, "min_dice", self.min_dice, "above 0 and at most 1")
        object.__setattr__(self, "min_dice", float(self.min_dice))

    @property
    def relevance(self) -> str:
        return f"whose tumor overlaps by a Dice of {self.min_dice:g} in a common brain frame"

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Positions, and relevance by the tumors' overlap."""
        centers = self.centers(cases, facts, frame)
        overlap = DicePairs(np.stack([region_cells(facts[case.id], self.region) for case in cases]))

        def judge(queries: Indices, gallery: Indices) -> Judged:
            over = overlap(queries, gallery) >= self.min_dice
            return Judged(over, over.astype(np.float64), {"distance_mm": distance_pairs(centers, queries, gallery)})

        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=centers,
            target_names=AXES,
            judge=judge,
            ideal=overlap,
            metrics=self.metrics(POSITION_METRICS, ["distance_mm"]),
            columns={"right": self.rights(cases, facts), "midline_mm": self.midlines(cases, facts, frame)},
        )


class DicePairs:
    """Dice coefficients of masks: 2 sum(a b) / (sum(a^2) + sum(b^2)) over the shares a, b of the cells.

    The form of Milletari et al. 2016: the usual coefficient for masks of zeros and ones, and 1 for equal masks only.
    All sums are exact, so that a coefficient depends on its two masks alone. An empty mask overlaps with nothing.

    Args:
        masks: (n, cells) uint8, the share of each cell that the tumor fills, in 255ths.
    """

    def __init__(self, masks: npt.NDArray[np.uint8]) -> None:
        from scipy.sparse import csr_array

        shares = np.asarray(masks, dtype=np.uint8)
        self._masks: Any = csr_array(shares, dtype=np.float64)
        self._squared = np.square(shares.astype(np.float64)).sum(axis=1)

    def __call__(self, queries: Indices, gallery: Indices) -> Array:
        """(queries, gallery) coefficients of masks by their places."""
        shared = np.asarray((self._masks[queries] @ self._masks[gallery].T).toarray(), dtype=np.float64)
        total = self._squared[queries][:, None] + self._squared[gallery]
        return np.where(total > 0, 2.0 * shared / np.where(total > 0, total, 1.0), 0.0)
