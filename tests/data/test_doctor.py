"""The doctor reads every case and says, a line each, what keeps it from being used."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from neuroprint.data.cohort import Cohort
from neuroprint.data.doctor import Problem, check_cohort
from neuroprint.data.formats.brats import BraTSFormat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODALITIES = ("flair", "t1ce", "t1", "t2")


def test_a_sound_cohort_has_no_problem(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    for seed, name in enumerate("ab"):
        write_case(tmp_path / name, seed=seed)
    told: list[tuple[int, int]] = []
    found = check_cohort(BraTSFormat(tmp_path).cohort(), MODALITIES, lambda done, total: told.append((done, total)))
    assert found == []
    assert told == [(1, 2), (2, 2)]


def test_every_kind_of_problem_is_a_line(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    for seed, name in enumerate(("sound", "excluded", "cut", "unlabeled", "empty", "values")):
        write_case(
            tmp_path / name,
            seed=seed,
            values={"unlabeled": None, "empty": (), "values": (1, 7)}.get(name, (1, 2, 4)),
        )
    for path in write_case(tmp_path / "twin").iterdir():
        shutil.copy(tmp_path / "sound" / path.name.replace("twin", "sound"), path)
    (tmp_path / "excluded" / "excluded_t2.nii.gz").unlink()
    cut = tmp_path / "cut" / "cut_t1.nii.gz"
    cut.write_bytes(cut.read_bytes()[:500])

    found = check_cohort(BraTSFormat(tmp_path).cohort(), MODALITIES)
    expected = [
        ("cut", "unusable", "cut_t1.nii.gz is cut off"),
        ("empty", "warning", "empty_seg.nii.gz is empty"),
        ("excluded", "unusable", "excluded_t2.nii.gz missing"),
        ("twin", "warning", "byte for byte those of case sound"),
        ("unlabeled", "warning", "has no label"),
        ("values", "unusable", "[1, 7]"),
    ]
    assert [(problem.case, problem.severity) for problem in found] == [row[:2] for row in expected]
    for problem, (_, _, words) in zip(found, expected, strict=True):
        assert words in problem.message
        assert "\n" not in problem.message


def test_metadata_that_others_have_is_missed(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    for seed, name in enumerate("ab"):
        write_case(tmp_path / name, seed=seed)
    a, b = BraTSFormat(tmp_path).cohort().cases
    cohort = Cohort("x", (replace(a, metadata={"grade": 4.0, "site": "Ulm"}), replace(b, metadata={"site": "Bonn"})))
    assert check_cohort(cohort, MODALITIES) == [
        Problem("b", "warning", "no value for grade, which other cases have; fill it in where it is needed")
    ]


def test_real_patients_are_sound(real_root: Path) -> None:
    assert check_cohort(BraTSFormat(real_root).cohort(), MODALITIES) == []


def test_one_image_of_another_patient_is_a_line(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    for seed, name in enumerate(("A", "B", "C")):
        write_case(tmp_path / name, seed=seed)
    (tmp_path / "C" / "C_t2.nii.gz").write_bytes((tmp_path / "A" / "A_t1.nii.gz").read_bytes())
    (problem,) = check_cohort(BraTSFormat(tmp_path).cohort(), ("flair", "t1", "t1ce", "t2"))
    assert (problem.case, problem.severity) == ("C", "warning")
    assert "C_t2.nii.gz is byte for byte A_t1.nii.gz of case A" in problem.message


def test_a_label_under_another_name_is_named(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    folder = write_case(tmp_path / "BraTS20_Training_355")
    (folder / "BraTS20_Training_355_seg.nii.gz").rename(folder / "W39_1998.09.19_Segm.nii.gz")
    (problem,) = check_cohort(BraTSFormat(tmp_path).cohort(), MODALITIES)
    assert problem.severity == "warning"
    assert problem.message == (
        "it has no label, but W39_1998.09.19_Segm.nii.gz beside its images is not used: if that is the label, rename it "
        "as the others are"
    )


def test_files_of_other_cases_beside_an_unlabeled_one_are_not_its_label(
    tmp_path: Path, write_case: Callable[..., Path]
) -> None:
    for seed, name in enumerate("ab"):
        write_case(tmp_path / name, seed=seed, values=None)
    cases = BraTSFormat(tmp_path).cohort().cases
    for path in (tmp_path / "b").iterdir():
        path.rename(tmp_path / "a" / path.name)
    moved = [
        replace(case, images={m: replace(f, path=tmp_path / "a" / f.path.name) for m, f in case.images.items()})
        for case in cases
    ]
    assert {problem.message for problem in check_cohort(Cohort("x", tuple(moved)), MODALITIES)} == {
        "it has no label: it serves as a gallery case, but has no tumor position; add the label file"
    }


def test_what_is_odd_about_a_case_or_a_cohort_is_a_line(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    for seed, name in enumerate(("BraTS-PED-00001-000", "BraTS-PED-00002-000", "other")):
        write_case(tmp_path / name, dash="PED" in name, seed=seed, values=(1, 2))
    shutil.copy(tmp_path / "other" / "other_flair.nii.gz", tmp_path / "other" / "other_t1.nii.gz")
    labels, images = check_cohort(BraTSFormat(tmp_path).cohort(), MODALITIES)
    assert (labels.case, labels.severity, images.case, images.severity) == (
        "BraTS-PED-00001-000",
        "warning",
        "other",
        "warning",
    )
    assert "no label of these pediatric cases holds 4" in labels.message
    assert "(and 1 more cases alike)" in labels.message
    assert "other_t1.nii.gz holds the same image as other_flair.nii.gz" in images.message


def test_cases_that_may_be_sessions_of_one_patient_are_a_line(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    for seed, name in enumerate(("P1_1", "P1_2", "P2_1")):
        write_case(tmp_path / name, seed=seed)
    (problem,) = check_cohort(BraTSFormat(tmp_path).cohort(), MODALITIES)
    assert (problem.case, problem.severity) == ("P1_1", "warning")
    assert "one patient with P1_2" in problem.message


def test_a_name_with_a_newline_does_not_break_its_line(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    folder = write_case(tmp_path / "a", values=())
    (folder / "a_seg.nii.gz").rename(folder / "W39\n_seg.nii.gz")
    (problem,) = check_cohort(BraTSFormat(tmp_path).cohort(), MODALITIES)
    assert "\n" not in problem.message
