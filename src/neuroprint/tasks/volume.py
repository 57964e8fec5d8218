"""``task=volume``: how large is the tumor? Relevant are cases whose tumor is about as large."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from neuroprint.data.facts import volume_cm3
from neuroprint.evaluation.question import Question, log_ratios, within
from neuroprint.evaluation.regression import VOLUME_METRICS
from neuroprint.tasks.labeled import check_labels_tell, require_region, why_without
from neuroprint.tasks.numbers import draw_numbers
from neuroprint.tasks.task import Draw, Task, is_number, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.evaluation import Evaluation

_TARGET = "log10_cm3"


@dataclass(frozen=True, kw_only=True)
class TumorVolume(Task):
    """The volume of a region of the tumor. Cases without that region are left out.

    The probe predicts log10 of the volume in cm³: 0 is 1 cm³, 1 is 10 cm³, 2 is 100 cm³. Tumors differ in size by factors,
    so an error counts as a factor too. A gallery case is relevant if the larger of the two volumes is at most ``ratio`` times
    the smaller. Its gain falls linearly in the logarithm of that quotient, from 1 at equal volumes to 0 at the square of
    ``ratio``. The ideal ranking is by the quotient.

    Attributes:
        region: ``whole_tumor``, ``tumor_core`` or ``enhancing``.
        ratio: Largest quotient of the volumes of relevant cases.

    Example:
        >>> TumorVolume(region="enhancing", ratio=2).relevance
        "whose tumor's volume (enhancing) is equal within a factor of 2"
    """

    region: str = "whole_tumor"
    ratio: float = 1.5

    name: ClassVar[str] = "volume"

    def __post_init__(self) -> None:
        require_region(self.name, self.region)
        require(is_number(self.ratio) and self.ratio > 1, self.name, "ratio", self.ratio, "a number above 1")
        object.__setattr__(self, "ratio", float(self.ratio))

    @property
    def relevance(self) -> str:
        part = "" if self.region == "whole_tumor" else f" ({self.region})"
        return f"whose tumor's volume{part} is equal within a factor of {self.ratio:g}"

    def check(self, cohort: Cohort) -> None:
        """Refuse a region that the cohort's labels do not tell."""
        check_labels_tell(cohort, self.region)

    def why_not(self, case: Case, facts: CaseFacts | None) -> str | None:
        """A case without a voxel of the region has no volume."""
        return why_without(facts, self.region, "volume")

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Volumes, and relevance by their ratio."""
        volumes = np.array([volume_cm3(facts[case.id], self.region) for case in cases], dtype=np.float64)
        judge, ideal = within(log_ratios(volumes), math.log(self.ratio))
        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=np.log10(volumes)[:, None],
            target_names=(_TARGET,),
            judge=judge,
            ideal=ideal,
            metrics=self.metrics(VOLUME_METRICS),
        )

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """Predicted against true volumes."""

        def draw() -> Figure:
            from neuroprint.figures.predictions import Panel

            return draw_numbers(evaluation, [_TARGET], ["probe/r2"], [Panel("log10 of the volume", "cm³")])

        return {"probe": draw}
