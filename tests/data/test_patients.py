"""Sessions of one patient are recognized by name, and doubt is said."""

from __future__ import annotations

import pytest

from neuroprint.data.case import Case
from neuroprint.data.patients import patient_by_name, patients_in_doubt


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("sub-01_ses-1", "sub-01"),
        ("sub-01_ses-pre_run-2", "sub-01"),
        ("UPENN-GBM-00001_11", "UPENN-GBM-00001"),
        ("UPENN-GBM-00001_21", "UPENN-GBM-00001"),
        ("UCSF-PDGM-0429_FU003d", "UCSF-PDGM-0429"),
        ("Patient-001_week-000-1", "Patient-001"),
        ("BraTS-GLI-00001-000", "BraTS-GLI-00001"),
        ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001"),
        ("P7_baseline", "P7"),
        ("P7_visit2", "P7"),
        ("P7-followup-3", "P7"),
    ],
)
def test_the_usual_namings_of_sessions_are_recognized(case: str, patient: str) -> None:
    assert patient_by_name(case) == patient


OTHER = """BraTS2021_00001 Brats18_2013_2_1 BraTS20_Training_355 UCSF-PDGM-0004 TCGA-02-0006 BRATS_001 sub-01 Clinic-00003
Phantom_00000 x_dayton UPENN-GBM-00001 fu_1"""


@pytest.mark.parametrize("case", OTHER.split())
def test_other_names_are_patients(case: str) -> None:
    assert patient_by_name(case) == case


def doubts(*names: str, patient: str | None = None) -> dict[str, str]:
    return patients_in_doubt(Case(name, patient or patient_by_name(name), {}) for name in names)


@pytest.mark.parametrize(
    "names",
    [
        ("P001_1", "P001_2", "P002_1"),
        ("P1-a", "P1-b", "P2-a"),
        ("100101A", "100101B", "100102A"),
        ("x1_t1", "x1_t2", "x2_t1"),
    ],
)
def test_names_that_may_be_sessions_are_in_doubt(names: tuple[str, ...]) -> None:
    ((first, said),) = doubts(*names).items()
    assert first == names[0]
    assert names[1] in said
    assert "manifest" in said


def test_groups_that_are_in_doubt_are_counted() -> None:
    (said,) = doubts("P1_1", "P1_2", "P2_1", "P2_2", "P3_1", "P3_2").values()
    assert "P1_2 (and 2 more such groups)" in said


@pytest.mark.parametrize(
    "names",
    [
        ("BraTS2021_00000", "BraTS2021_00002", "BraTS2021_00003"),
        ("Brats18_2013_2_1", "Brats18_2013_3_1", "Brats18_CBICA_ABE_1"),
        ("BRATS_001", "BRATS_002"),
        ("site1_001", "site1_002"),  # a counter: there is no other group
        ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"),
        ("TCGA-02-0006", "TCGA-02-0009", "TCGA-06-0119"),
    ],
)
def test_names_that_are_clear_are_not_in_doubt(names: tuple[str, ...]) -> None:
    assert doubts(*names) == {}


def test_there_is_no_doubt_where_somebody_has_said_whose_the_cases_are() -> None:
    assert doubts("P001_1", "P001_2", "P002_1", patient="as the table says") == {}
