"""Whose scan it is: sessions of one patient, told by the names of cases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from neuroprint.data.case import Case

_SESSION = r"(?:ses|session|visit|tp|timepoint|week|month|day|baseline|follow-?up|fu|pre-?op|post-?op)"
_USUAL = tuple(
    re.compile(rf"(?P<patient>{patient})(?:{session})", re.IGNORECASE)
    for patient, session in (
        (r"BraTS-(?:[A-Z]+-)+\d+", r"-\d{1,3}"),  # BraTS-GLI-00001-001, BraTS-MEN-RT-0001-1
        (r"UPENN-GBM-\d+", r"_\d\d"),  # _11 before surgery, _21 at recurrence
        (r".+?", rf"[_-]{_SESSION}(?:[_-]?\d[\w-]*|[_-][\w-]+)?"),  # sub-01_ses-1, Patient-001_week-000-1, _FU003d
    )
)
_MAYBE = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<stem>.*\d.*)[_-](?:\d{1,3}|[A-Za-z]{1,3}\d{0,2}|pre|post)",  # P001_1, P001-b, P001_v2
        r"(?P<stem>.*\d)[A-Za-z]",  # 100101A
    )
)


def patient_by_name(case_id: str) -> str:
    """The patient of a case by its id, where it follows a usual naming of sessions; else the id itself.

    Example:
        >>> [patient_by_name(name) for name in ("sub-01_ses-2", "UPENN-GBM-00001_21", "BraTS2021_00001")]
        ['sub-01', 'UPENN-GBM-00001', 'BraTS2021_00001']
    """
    return next((match["patient"] for usual in _USUAL if (match := usual.fullmatch(case_id))), case_id)


def patients_in_doubt(cases: Iterable[Case]) -> dict[str, str]:
    """Cases that are taken for patients of their own, but whose names look like sessions of one.

    Names are in doubt where some differ in a short ending only, and others do not begin so: ``P001_1``, ``P001_2``,
    ``P002_1``. Where somebody has said whose the cases are, there is no doubt.

    Returns:
        By the first such case, a line that names another one and says what to do; empty where there is no doubt.
    """
    cases = tuple(cases)
    if any(case.patient != patient_by_name(case.id) for case in cases):
        return {}
    alike: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        match = next((found for maybe in _MAYBE if (found := maybe.fullmatch(case.id))), None)
        if match and case.patient == case.id:
            alike.setdefault(match["stem"], []).append(case.id)
    doubtful = [ids for ids in alike.values() if len(ids) > 1]
    if not doubtful or len(alike) < 2:
        return {}
    first, second = doubtful[0][:2]
    more = f" (and {len(doubtful) - 1} more such groups)" if len(doubtful) > 1 else ""
    return {
        first: f"by its name it may be of one patient with {second}{more}, but each counts as a patient, and one would "
        "answer the other's query; say whose they are in the column patient of a manifest, or rename them "
        "<patient>_ses-<session>"
    }
