"""What tasks on a tumor's place have in common: where it is, and which cases can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from neuroprint.data.case import Frame
from neuroprint.data.facts import Weighting, center_mm, is_right, midline_mm
from neuroprint.evaluation.arrays import Array
from neuroprint.tasks.labeled import check_labels_tell, require_region, why_without
from neuroprint.tasks.task import Draw, Task, require

if TYPE_CHECKING:
    from neuroprint.data.case import Case
    from neuroprint.data.case_facts import CaseFacts
    from neuroprint.data.cohort import Cohort
    from neuroprint.evaluation.evaluation import Evaluation


AXES = ("x_mm", "y_mm", "z_mm")


@dataclass(frozen=True, kw_only=True)
class Located(Task):
    """A task on a tumor's place. Cases without a tumor are left out.

    Attributes:
        region: ``whole_tumor``, ``tumor_core`` or ``enhancing``.
        weighting: ``binary``: each voxel of the region counts alike. ``label``: each counts by its label's number, as
            ``scipy.ndimage.center_of_mass`` of the label volume does.
        frame: Where positions are compared. ``world``: as the scans' affines place them; ``brain``: relative to the center
            of the brain's box; ``auto``: as the cohort declares.
    """

    region: str = "whole_tumor"
    weighting: Weighting = "binary"
    frame: str = "auto"

    def __post_init__(self) -> None:
        frames = ("auto", *get_args(Frame))
        require_region(self.name, self.region)
        require(self.weighting in get_args(Weighting), self.name, "weighting", self.weighting, "binary or label")
        require(self.frame in frames, self.name, "frame", self.frame, f"one of {', '.join(frames)}")

    def check(self, cohort: Cohort) -> None:
        """Refuse a region that the cohort's labels do not tell."""
        check_labels_tell(cohort, self.region)

    def why_not(self, case: Case, facts: CaseFacts | None) -> str | None:
        """A case without a voxel of the region has no place."""
        return why_without(facts, self.region, "center")

    def identity(self, frame: Frame) -> dict[str, Any]:
        """The frame is the one that is used, whoever chose it."""
        return {**super().identity(frame), "frame": self._frame(frame)}

    def centers(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Array:
        """(n, 3) centers of the region in mm: x to the patient's right, y to the front, z up.

        Args:
            cases: Cases that have one.
            facts: By case id.
            frame: The cohort's.
        """
        found = [center_mm(facts[case.id], self.region, self.weighting, self._frame(frame)) for case in cases]
        return np.array([np.full(3, np.nan) if center is None else center for center in found]).reshape(-1, 3)

    def rights(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts]) -> npt.NDArray[np.bool_]:
        """(n,) whether a tumor's center lies right of the brain box's."""
        return np.array([bool(is_right(facts[case.id], self.region, self.weighting)) for case in cases])

    def midlines(self, cases: Sequence[Case], facts: Mapping[str, CaseFacts], frame: Frame) -> Array:
        """(n,) x of the brain box's center, which separates left from right, in mm.

        Args:
            cases: Cases.
            facts: By case id.
            frame: The cohort's.
        """
        return np.array([midline_mm(facts[case.id], self._frame(frame)) for case in cases])

    def figures(self, evaluation: Evaluation) -> dict[str, Draw]:
        """Predicted against true positions."""
        from neuroprint.figures.predictions import BODY_PANELS, draw_predictions

        def draw() -> Any:
            true = np.stack([evaluation.queries[f"true_{axis}"].to_numpy(dtype=float) for axis in AXES], axis=1)
            scores = [evaluation.metrics.get(f"probe/r2_{axis}", np.nan) for axis in "xyz"]
            queries = evaluation.queries
            middle = queries["midline_mm"].to_numpy(dtype=float) if "midline_mm" in queries else None
            return draw_predictions(true, evaluation.predicted, scores, BODY_PANELS, middle)

        return {"probe": draw}

    def _frame(self, frame: Frame) -> Frame:
        """The frame that is used in a cohort of this frame."""
        if self.frame == "auto":
            return frame
        return "brain" if self.frame == "brain" else "world"


def distance_pairs(centers: Array, queries: npt.NDArray[np.int64], gallery: npt.NDArray[np.int64]) -> Array:
    """(queries, gallery) distances between centers, mm."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(centers[queries], centers[gallery]), dtype=np.float64)
