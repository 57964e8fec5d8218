"""``task=side``: on which side is the tumor? Relevant are cases of the same hemisphere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from neuroprint.evaluation.arrays import Indices
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.evaluation.ranked import Judged
from neuroprint.tasks.classes import draw_class_scores, one_hot
from neuroprint.tasks.located import Located, distance_pairs
from neuroprint.tasks.task import Draw

if TYPE_CHECKING:
    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.evaluation.evaluation import Evaluation

_SIDES = ("left", "right")


@dataclass(frozen=True, kw_only=True)
class Side(Located):
    """The side of the brain box's middle on which the tumor's center lies.

    The probe tells left from right. A gallery case is relevant if it is of the same side; the ideal ranking puts those first.

    Example:
        >>> import neuroprint as npr
        >>> cohort = npr.load_cohort("phantom", cases=12, spacing_mm=8.0)
        >>> result = npr.evaluate(npr.embed(cohort, encoder="voxels"), Side())
        >>> "probe/auc" in result.metrics
        True
    """

    name: ClassVar[str] = "side"

    @property
    def relevance(self) -> str:
        return "whose tumor is on the same side"

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Sides as classes."""
        right, centers = self.rights(cases, facts), self.centers(cases, facts, frame)
        same, ideal = equal_classes(right.astype(np.int64))

        def judge(queries: Indices, gallery: Indices) -> Judged:
            found = same(queries, gallery)
            return Judged(found.relevant, found.gain, {"distance_mm": distance_pairs(centers, queries, gallery)})

        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=one_hot(right.astype(np.int64), len(_SIDES)),
            target_names=_SIDES,
            judge=judge,
            ideal=ideal,
            metrics=self.metrics(CLASS_METRICS, ["distance_mm"]),
        )

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """How the probe's scores tell the sides apart."""
        return {"probe": lambda: draw_class_scores(evaluation, _SIDES)}
