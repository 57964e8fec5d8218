"""Which gallery cases count as truly similar to a query, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.evaluation.subjects import Subjects

Kind = Literal["distance", "side", "overlap", "metadata"]


@dataclass(frozen=True)
class RelevanceRule:
    """What makes two cases similar.

    Attributes:
        kind: ``distance`` (centers within ``radius_mm``), ``side`` (same hemisphere), ``overlap`` (Dice coefficient of
            the masks of ``min_dice`` or more) or ``metadata`` (equal values in ``column``).
        radius_mm: Radius of relevance by distance.
        min_dice: Least Dice coefficient of relevance by overlap.
        column: Column of relevance by metadata.
    """

    kind: Kind = "distance"
    radius_mm: float = 20.0
    min_dice: float = 0.3
    column: str | None = None


@dataclass(frozen=True, eq=False)
class Relevance:
    """Relevance of every case (column) to every case (row).

    Attributes:
        relevant: (n, n) whether the column's case is relevant to the row's.
        gain: (n, n) graded gain for nDCG, 0 to 1.
        ideal: (n, n) what the oracle ranks by, larger is closer; None: by the distance of the centers.
    """

    relevant: npt.NDArray[np.bool_]
    gain: npt.NDArray[np.float64]
    ideal: npt.NDArray[np.float64] | None = None


def distances_mm(subjects: Subjects) -> npt.NDArray[np.float64]:
    """(n, n) distances between tumor centers; NaN where one of the two has no tumor."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(subjects.centers_mm, subjects.centers_mm), dtype=np.float64)


def dice(subjects: Subjects) -> npt.NDArray[np.float64]:
    """(n, n) Dice coefficients of the masks: 2 sum(a b) / (sum(a^2) + sum(b^2)) over the shares a, b of the cells.

    The form of Milletari et al. 2016: the usual coefficient for masks of zeros and ones, and 1 for equal masks only.
    All sums are exact, so that a coefficient depends on its two masks alone. An empty mask overlaps with nothing.

    Raises:
        NeuroprintError: The subjects have no masks.
    """
    from scipy.sparse import csr_array

    if subjects.masks is None:
        raise NeuroprintError("relevance by overlap needs the tumors' masks: none were given")
    masks = csr_array(np.asarray(subjects.masks, dtype=np.uint8), dtype=np.float64)
    shared = np.asarray(csr_array(masks @ masks.T).toarray(), dtype=np.float64)
    squared = np.diag(shared)
    total = squared[:, None] + squared
    return np.where(total > 0, 2.0 * shared / np.where(total > 0, total, 1.0), 0.0)


def relevance(subjects: Subjects, rule: RelevanceRule) -> Relevance:
    """Judge all pairs of cases. A patient's own cases, the query included, are never relevant to each other.

    By distance, a case is relevant within the radius and its gain falls from 1 at the query's center to 0 at twice the
    radius: max(0, 1 - d / (2 radius)). By side, overlap and metadata the gain is 1. A missing value equals nothing.

    Raises:
        NeuroprintError: The rule does not fit the subjects: unknown kind or column, a radius or a Dice coefficient that
            is not positive, or a case without the tumor center or the mask that the rule needs.
    """
    others = _other_patients(subjects)
    if rule.kind == "metadata":
        equal = _equal_metadata(subjects, rule.column) & others
        return Relevance(equal, equal.astype(np.float64))
    if not subjects.located.all():
        nameless = [case for case, known in zip(subjects.ids, subjects.located, strict=True) if not known]
        raise NeuroprintError(
            f"relevance by {rule.kind} needs a tumor center, and case {nameless[0]} has none"
            f"{f' (nor have {len(nameless) - 1} more)' if len(nameless) > 1 else ''}: leave such cases out"
        )
    if rule.kind == "side":
        same = (subjects.right[:, None] == subjects.right) & others
        return Relevance(same, same.astype(np.float64))
    if rule.kind == "overlap":
        if not 0 < rule.min_dice <= 1:
            raise NeuroprintError(f"min_dice={rule.min_dice}: pass a Dice coefficient above 0 and at most 1")
        overlap = dice(subjects)
        over = (overlap >= rule.min_dice) & others
        return Relevance(over, over.astype(np.float64), overlap)
    if rule.kind == "distance":
        if not (np.isfinite(rule.radius_mm) and rule.radius_mm > 0):
            raise NeuroprintError(f"radius_mm={rule.radius_mm}: pass a radius above 0")
        apart = distances_mm(subjects)
        gain = np.where(others, np.maximum(0.0, 1.0 - apart / (2.0 * rule.radius_mm)), 0.0)
        return Relevance((apart <= rule.radius_mm) & others, gain)
    raise NeuroprintError(f"unknown relevance {rule.kind!r}: choose one of distance, side, overlap, metadata")


def _other_patients(subjects: Subjects) -> npt.NDArray[np.bool_]:
    numbers = {patient: number for number, patient in enumerate(sorted(set(subjects.patients)))}
    patient = np.array([numbers[patient] for patient in subjects.patients])
    different: npt.NDArray[np.bool_] = patient[:, None] != patient
    return different


def _equal_metadata(subjects: Subjects, column: str | None) -> npt.NDArray[np.bool_]:
    if column is None or column not in subjects.metadata:
        known = ", ".join(sorted(subjects.metadata)) or "none"
        raise NeuroprintError(f"relevance by metadata: no column {column!r} (columns: {known}); pass retrieval.column")
    values = list(subjects.metadata[column])
    known_values = [value for value in values if not _missing(value)]
    if not known_values:
        raise NeuroprintError(f"relevance by metadata: column {column!r} has no value for any scored case")
    numbers = {value: number for number, value in enumerate(dict.fromkeys(known_values))}
    code = np.array([-1 if _missing(value) else numbers[value] for value in values])
    equal: npt.NDArray[np.bool_] = (code[:, None] == code) & (code[:, None] >= 0)
    return equal


def _missing(value: object) -> bool:
    try:
        return value is None or bool(value == "") or bool(value != value)  # NaN and NaT differ from themselves
    except TypeError:  # pandas' NA refuses to be a truth value
        return True
