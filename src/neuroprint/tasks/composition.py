"""``task=composition``: of what does the tumor consist? Relevant are cases with similar shares of the tissues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from neuroprint.data.facts import TUMOR_PARTS, tissue_shares
from neuroprint.data.labels import conventions_that_tell, tells_parts
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.arrays import Array, Indices
from neuroprint.evaluation.question import Question, within
from neuroprint.evaluation.regression import SHARE_METRICS
from neuroprint.tasks.labeled import why_without
from neuroprint.tasks.numbers import draw_numbers
from neuroprint.tasks.task import Draw, Task, is_number, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.evaluation import Evaluation


@dataclass(frozen=True, kw_only=True)
class Composition(Task):
    """The shares of necrosis, edema and enhancement in the whole tumor. Cases without a tumor are left out.

    Necrosis is the core less its enhancing part, so it holds the core that does not enhance as well. The probe predicts the
    three shares. The distance of two tumors is half the sum of the absolute differences of their shares (total variation):
    that share of one tumor would have to change its tissue to become like the other. A gallery case is relevant up to
    ``within``. Its gain falls from 1 at equal shares to 0 at twice that. The ideal ranking is by the distance.

    Attributes:
        within: Largest distance of relevant cases, from 0 to 1.

    Example:
        >>> Composition(within=0.1).relevance
        'whose shares of necrosis, edema and enhancement differ by at most 10 %'
    """

    within: float = 0.15

    name: ClassVar[str] = "composition"

    def __post_init__(self) -> None:
        sound = is_number(self.within) and 0 < self.within < 1
        require(sound, self.name, "within", self.within, "a share between 0 and 1")
        object.__setattr__(self, "within", float(self.within))

    @property
    def relevance(self) -> str:
        return f"whose shares of necrosis, edema and enhancement differ by at most {100 * self.within:g} %"

    def check(self, cohort: Cohort) -> None:
        """Refuse labels that do not tell the tissues apart."""
        if not all(tells_parts(case.label_convention) for case in cohort.cases):
            raise NeuroprintError(
                "task=composition needs labels that tell necrosis, edema and enhancement apart, and this cohort does not say "
                f"what its label's numbers mean; declare dataset.labels as {conventions_that_tell()}"
            )

    def why_not(self, case: Case, facts: CaseFacts | None) -> str | None:
        """A case without a tumor consists of nothing."""
        return why_without(facts, "whole_tumor", "composition")

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Shares, and relevance by how far they differ."""
        shares = np.array([tissue_shares(facts[case.id]) for case in cases], dtype=np.float64).reshape(
            -1, len(TUMOR_PARTS)
        )

        def apart(queries: Indices, gallery: Indices) -> Array:
            from scipy.spatial.distance import cdist

            return np.asarray(cdist(shares[queries], shares[gallery], "cityblock") / 2.0, dtype=np.float64)

        judge, ideal = within(apart, self.within)
        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=shares,
            target_names=TUMOR_PARTS,
            judge=judge,
            ideal=ideal,
            metrics=self.metrics(SHARE_METRICS),
        )

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """Predicted against true shares."""

        def draw() -> Figure:
            from neuroprint.figures.predictions import Panel

            panels = [Panel(tissue, "%") for tissue in TUMOR_PARTS]
            return draw_numbers(
                evaluation, TUMOR_PARTS, [f"probe/r2_{tissue}" for tissue in TUMOR_PARTS], panels, factor=100.0
            )

        return {"probe": draw}
