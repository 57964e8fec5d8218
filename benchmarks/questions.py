"""The question of ``task=tumor_position`` about tumors at given places: what benchmarks without scans ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroprint.data.case import Case, Frame
from neuroprint.data.case_facts import CaseFacts
from neuroprint.evaluation.question import Question
from neuroprint.tasks import TumorPosition


@dataclass(frozen=True, kw_only=True)
class _Placed(TumorPosition):
    centers_mm: npt.NDArray[np.float64]

    def centers(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> npt.NDArray[np.float64]:
        return self.centers_mm

    def rights(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts]) -> npt.NDArray[np.bool_]:
        return np.asarray(self.centers_mm[:, 0] > 0)

    def midlines(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> npt.NDArray[np.float64]:
        return np.zeros(len(self.centers_mm))


def position_question(centers_mm: npt.NDArray[np.float64]) -> Question:
    """The question about one case a patient.

    Args:
        centers_mm: (n, 3) centers of the tumors.
    """
    ids = [f"case{number:05d}" for number in range(len(centers_mm))]
    return _Placed(centers_mm=centers_mm).question([Case(name, name, {}) for name in ids], {}, "world")
