"""``task=tumor_position``: where is the tumor? Relevant are cases whose tumor lies nearby."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

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
class TumorPosition(Located):
    """The center of mass of the tumor.

    The probe predicts it in mm. A gallery case is relevant within ``radius_mm``; its gain falls from 1 at the query's center
    to 0 at twice the radius: max(0, 1 - d / (2 radius)). The ideal ranking is by the distance of the centers.

    Attributes:
        radius_mm: Radius of relevance.

    Example:
        >>> TumorPosition(radius_mm=15).relevance
        "whose tumor's center lies within 15 mm"
    """

    radius_mm: float = 20.0

    name: ClassVar[str] = "tumor_position"

    def __post_init__(self) -> None:
        super().__post_init__()
        sound = is_number(self.radius_mm) and self.radius_mm > 0
        require(sound, self.name, "radius_mm", self.radius_mm, "above 0 mm")
        object.__setattr__(self, "radius_mm", float(self.radius_mm))  # 20 and 20.0 are one radius

    @property
    def relevance(self) -> str:
        return f"whose tumor's center lies within {self.radius_mm:g} mm"

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Positions, and relevance by their distance."""
        centers, radius = self.centers(cases, facts, frame), self.radius_mm

        def judge(queries: Indices, gallery: Indices) -> Judged:
            apart = distance_pairs(centers, queries, gallery)
            return Judged(apart <= radius, np.maximum(0.0, 1.0 - apart / (2.0 * radius)), {"distance_mm": apart})

        def ideal(queries: Indices, gallery: Indices) -> Array:
            return -distance_pairs(centers, queries, gallery)

        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=centers,
            target_names=AXES,
            judge=judge,
            ideal=ideal,
            metrics=self.metrics(POSITION_METRICS, ["distance_mm"]),
            columns={"right": self.rights(cases, facts), "midline_mm": self.midlines(cases, facts, frame)},
        )
