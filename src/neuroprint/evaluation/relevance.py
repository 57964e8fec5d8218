"""Which gallery cases count as truly similar to a query, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from neuroprint.evaluation.subjects import Subjects

Kind = Literal["distance", "side", "metadata"]


@dataclass(frozen=True)
class RelevanceRule:
    """What makes two cases similar.

    Attributes:
        kind: ``distance`` (centres within ``radius_mm``), ``side`` (same hemisphere) or ``metadata`` (equal values in
            ``column``).
        radius_mm: Radius of relevance by distance.
        column: Column of relevance by metadata.
    """

    kind: Kind = "distance"
    radius_mm: float = 20.0
    column: str | None = None


@dataclass(frozen=True, eq=False)
class Relevance:
    """Relevance of every case (column) to every case (row).

    Attributes:
        relevant: (n, n) whether the column's case is relevant to the row's.
        gain: (n, n) graded gain for nDCG, 0 to 1.
    """

    relevant: npt.NDArray[np.bool_]
    gain: npt.NDArray[np.float64]


def distances_mm(subjects: Subjects) -> npt.NDArray[np.float64]:
    """(n, n) distances between tumour centres; NaN where one of the two has no tumour."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(subjects.centres_mm, subjects.centres_mm), dtype=np.float64)


def relevance(subjects: Subjects, rule: RelevanceRule) -> Relevance:
    """Judge all pairs of cases. A patient's own cases, the query included, are never relevant to each other.

    By distance, a case is relevant within the radius and its gain falls from 1 at the query's centre to 0 at twice the
    radius: max(0, 1 - d / (2 radius)). By side and by metadata the gain is 1. A missing value equals nothing.

    Raises:
        NeuroprintError: The rule does not fit the subjects: unknown kind or column, a radius that is not positive, or
            a case without the tumour centre that the rule needs.
    """
    others = _other_patients(subjects)
    if rule.kind == "metadata":
        equal = _equal_metadata(subjects, rule.column) & others
        return Relevance(equal, equal.astype(np.float64))
    if not subjects.located.all():
        nameless = [case for case, known in zip(subjects.ids, subjects.located, strict=True) if not known]
        raise NeuroprintError(
            f"relevance by {rule.kind} needs a tumour centre, and case {nameless[0]} has none"
            f"{f' (nor have {len(nameless) - 1} more)' if len(nameless) > 1 else ''}: leave such cases out"
        )
    if rule.kind == "side":
        same = (subjects.right[:, None] == subjects.right) & others
        return Relevance(same, same.astype(np.float64))
    if rule.kind == "distance":
        if not (np.isfinite(rule.radius_mm) and rule.radius_mm > 0):
            raise NeuroprintError(f"radius_mm={rule.radius_mm}: pass a radius above 0")
        apart = distances_mm(subjects)
        gain = np.where(others, np.maximum(0.0, 1.0 - apart / (2.0 * rule.radius_mm)), 0.0)
        return Relevance((apart <= rule.radius_mm) & others, gain)
    raise NeuroprintError(f"unknown relevance {rule.kind!r}: choose one of distance, side, metadata")


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
