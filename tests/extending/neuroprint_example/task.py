"""A task: what the probe predicts, which cases are relevant to a query, and what is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from neuroprint.data.case import Case, Frame
from neuroprint.data.case_facts import CaseFacts
from neuroprint.data.facts import center_mm
from neuroprint.evaluation.question import Question
from neuroprint.evaluation.ranked import Judged
from neuroprint.evaluation.regression import NUMBER_METRICS
from neuroprint.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class TumorDepth(Task):
    """How far the tumor's center lies from the middle of the brain, in mm.

    Attributes:
        within_mm: A gallery case is relevant if its depth differs by this at most.
    """

    within_mm: float = 5.0

    name: ClassVar[str] = "tumor_depth"

    @property
    def relevance(self) -> str:
        """The end of "cases ..."."""
        return f"whose tumor is as deep, within {self.within_mm:g} mm"

    def why_not(self, case: Case, facts: CaseFacts | None) -> str | None:
        """Why a case cannot take part."""
        return "it has no tumor" if facts is None or center_mm(facts) is None else None

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """The task as arrays."""
        depth = np.array([np.linalg.norm(center_mm(facts[case.id], frame="brain")) for case in cases])

        def apart(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
            return np.abs(depth[queries][:, None] - depth[gallery])

        def judge(queries: np.ndarray, gallery: np.ndarray) -> Judged:
            near = apart(queries, gallery) <= self.within_mm
            return Judged(near, near.astype(float))

        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=depth[:, None],
            target_names=("depth_mm",),
            judge=judge,
            ideal=lambda queries, gallery: -apart(queries, gallery),
            metrics=self.metrics(NUMBER_METRICS),
        )
