"""The patients of the clinic: their columns, their tumors and their scans, drawn before any image is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from neuroprint.phantom.anatomy import draw_age
from neuroprint.phantom.contrast import Scanner
from neuroprint.phantom.draws import Draws
from neuroprint.phantom.tumor import LARGEST_CM3, TumorKind, draw_volume

CLINIC_VERSION = 1
"""Rises whenever the same seed gives other voxels or other columns."""

CLINIC_COLUMNS = ("grade", "response", "age", "survival_days", "event", "scanner", "field_strength")

TUMOR_OF_GRADE = {
    "HGG": TumorKind(without_rim=0.1, rim_mm=(1.4, 5.5), solid=(0.6, 2.4)),
    "LGG": TumorKind(without_rim=0.6, rim_mm=(0.6, 2.6), solid=(1.6, 3.0)),
}
"""The tumor of each grade."""

SCANNERS = {
    "A": Scanner(contrast=0.75, noise=2.0, bias=0.5),
    "B": Scanner(contrast=1.0, noise=0.7, bias=1.8),
    "C": Scanner(contrast=1.3, noise=1.0, bias=1.0),
}
"""The three families of scanners."""

FIELD_STRENGTH = {"A": 1.5, "B": 3.0, "C": 3.0}
"""Of each family, tesla."""

_HIGH_GRADE, _RESPONSE, _MISSING = 0.6, 0.5, 0.05
_YOUNGEST, _OLDEST = 20, 85
_USUAL_CM3, _HAZARD_POWER = 80.0, 1.5
_SHAPE, _SCALE_DAYS, _FOLLOW_UP_DAYS = 1.5, 600.0, (60, 2100)
_PATIENTS, _CASES = 5, 6  # of five patients one is scanned twice
_STABLE, _GROWTH = 0.25, (1.15, 2.0)
_OF_PATIENT, _OF_SCAN, _OF_FIVE = 1, 2, 3  # keep generators apart from each other and from those of default phantoms


@dataclass(frozen=True)
class Patient:
    """A patient of the clinic; a pure function of seed and number.

    Attributes:
        seed: Of the cohort.
        number: Counts the patients from 0.
        grade: Of the tumor.
        response: To a treatment; no image tells it.
        age: Years.
        volume_cm3: Of the whole tumor at the first scan.
        growth: Factor on the volume at the second scan.
        survival_days: From the first scan to death or to the end of the follow-up.
        event: 1 if the patient died, 0 if the follow-up ended before.
        missing: Columns that were not written down.
    """

    seed: int
    number: int
    grade: Literal["HGG", "LGG"]
    response: Literal["yes", "no"]
    age: int
    volume_cm3: float
    growth: float
    survival_days: int
    event: int
    missing: frozenset[str]

    @property
    def id(self) -> str:
        """Such as ``Clinic-00012``."""
        return f"Clinic-{self.number:05d}"


@dataclass(frozen=True)
class Examination:
    """A scan of a patient of the clinic.

    Attributes:
        patient: Who was scanned.
        session: 0 for the first scan, 1 for the second.
        scanner: Family of the scanner, one of :data:`SCANNERS`.
    """

    patient: Patient
    session: int
    scanner: str

    @property
    def id(self) -> str:
        """Such as ``Clinic-00012-000``, in the naming of BraTS 2023."""
        return f"{self.patient.id}-{self.session:03d}"

    @property
    def columns(self) -> dict[str, str | float]:
        """Values of :data:`CLINIC_COLUMNS`, without those that are missing."""
        patient = self.patient
        known = {
            "grade": patient.grade,
            "response": patient.response,
            "age": patient.age,
            "survival_days": patient.survival_days,
            "event": patient.event,
            "scanner": self.scanner,
            "field_strength": FIELD_STRENGTH[self.scanner],
        }
        return {column: known[column] for column in CLINIC_COLUMNS if column not in patient.missing}

    def draws(self) -> Draws:
        """What the phantom is made from. Anatomy and tumor are the patient's, all else is the scan's."""
        patient, kind = self.patient, TUMOR_OF_GRADE[self.patient.grade]
        anatomy, tumor, _ = _of_patient(patient.seed, patient.number)
        pose, contrast, noise, _ = np.random.default_rng(
            [patient.seed, patient.number, _OF_SCAN, self.session + 1]
        ).spawn(4)
        growth = patient.growth if self.session else 1.0
        return Draws(
            anatomy,
            tumor,
            pose,
            contrast,
            noise,
            age=(patient.age - _YOUNGEST) / (_OLDEST - _YOUNGEST),
            kind=TumorKind(patient.volume_cm3, growth, kind.without_rim, kind.rim_mm, kind.solid),
            scanner=SCANNERS[self.scanner],
        )


def examination(seed: int, index: int) -> Examination:
    """Case ``index`` of the clinic's cohort ``seed``; no image is made.

    The cases are those of the patients in their order. Of patients 0 to 4, 5 to 9 and so on one is scanned twice.

    Example:
        >>> [examination(0, index).id for index in (2, 3, 4, 5)]
        ['Clinic-00002-000', 'Clinic-00003-000', 'Clinic-00003-001', 'Clinic-00004-000']
        >>> examination(0, 1).columns["scanner"]
        'A'
    """
    five, place = divmod(index, _CASES)
    twice = int(np.random.default_rng([seed, five, _OF_FIVE]).integers(_PATIENTS))
    number, session = five * _PATIENTS + place - (place > twice), int(place == twice + 1)
    *_, for_scanner = np.random.default_rng([seed, number, _OF_SCAN, session + 1]).spawn(4)
    return Examination(patient_of(seed, number), session, str(for_scanner.choice(list(SCANNERS))))


def patient_of(seed: int, number: int) -> Patient:
    """Patient ``number`` of the clinic's cohort ``seed``; every column has a generator of its own."""
    _, _, rng = _of_patient(seed, number)
    for_grade, for_response, for_age, for_volume, for_growth, for_survival, for_missing = rng.spawn(7)
    volume = draw_volume(for_volume)
    grows = for_growth.random() >= _STABLE
    days, event = survival_of(volume, for_survival)
    lost = for_missing.random(2) < _MISSING
    return Patient(
        seed=seed,
        number=number,
        grade="HGG" if for_grade.random() < _HIGH_GRADE else "LGG",
        response="yes" if for_response.random() < _RESPONSE else "no",
        age=round(_YOUNGEST + (_OLDEST - _YOUNGEST) * draw_age(for_age)),
        volume_cm3=volume,
        growth=min(float(for_growth.uniform(*_GROWTH)), LARGEST_CM3 / volume) if grows else 1.0,
        survival_days=days,
        event=event,
        missing=frozenset(column for column, gone in zip(("grade", "response"), lost, strict=True) if gone),
    )


def survival_of(volume_cm3: float, rng: np.random.Generator) -> tuple[int, int]:
    """Days until death or the end of the follow-up, and 1 for death or 0 for the end.

    Time to death is of Weibull's distribution with shape 1.5. Its hazard is proportional to the volume of the tumor to the
    power of 1.5; at 80 cm3 half of the patients live for 470 days. The follow-up is uniform from 60 to 2100 days, whatever
    the volume is.
    """
    hazard = (volume_cm3 / _USUAL_CM3) ** _HAZARD_POWER
    death = _SCALE_DAYS * (rng.exponential() / hazard) ** (1 / _SHAPE)
    end = rng.uniform(*_FOLLOW_UP_DAYS)
    return max(1, round(min(death, end))), int(death <= end)


def _of_patient(seed: int, number: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Fresh generators of the patient's anatomy, tumor and columns."""
    anatomy, tumor, columns = np.random.default_rng([seed, number, _OF_PATIENT]).spawn(3)
    return anatomy, tumor, columns
