"""BIDS: sessions are cases, entities tell the series, derivatives hold the label, and tables the metadata."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuroprint.data.formats.bids import BIDSFormat
from neuroprint.data.load import load_cohort, read_case, recognize
from neuroprint.errors import CaseError, NeuroprintError

Touch = Callable[..., Path]
FOUR = ("flair", "t1", "t1ce", "t2")
SERIES = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """Make empty files below a data set: finding cases looks at names only."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "bids" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "bids"

    return make


def session(subject: str, visit: str = "", series: tuple[str, ...] = SERIES) -> list[str]:
    stem = f"sub-{subject}_ses-{visit}" if visit else f"sub-{subject}"
    folder = f"sub-{subject}/ses-{visit}" if visit else f"sub-{subject}"
    return [f"{folder}/anat/{stem}_{name}.nii.gz" for name in series]


def derived(name: str, subject: str, visit: str = "", pipeline: str = "raters") -> str:
    stem = f"sub-{subject}_ses-{visit}" if visit else f"sub-{subject}"
    folder = f"sub-{subject}/ses-{visit}" if visit else f"sub-{subject}"
    return f"derivatives/{pipeline}/{folder}/anat/{stem}_{name}.nii.gz"


def test_a_session_is_a_case_and_a_subject_a_patient(touch: Touch) -> None:
    root = touch(*session("01", "1"), *session("01", "2"), *session("02"), derived("dseg", "01", "2"))
    touch("sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz", "sub-01/ses-1/anat/sub-01_ses-1_T2starw.nii.gz", "README")
    cohort = load_cohort("bids", root)
    assert {case.id: case.patient for case in cohort.cases} == {
        "sub-01_ses-1": "sub-01",
        "sub-01_ses-2": "sub-01",
        "sub-02": "sub-02",
    }
    assert (cohort.name, cohort.frame, cohort.modalities, dict(cohort.excluded)) == ("bids", "brain", FOUR, {})
    first, second, _ = cohort.cases
    assert first.images["t1ce"].path.name == "sub-01_ses-1_ce-gadolinium_T1w.nii.gz"
    assert first.images["t1"].path.name == "sub-01_ses-1_T1w.nii.gz"
    assert first.label is None
    assert second.label is not None
    assert second.label.path == root / derived("dseg", "01", "2")
    assert {case.label_convention for case in cohort.cases} == {"any"}
    assert load_cohort("bids", root, labels="brats2023", frame="world").cases[0].label_convention == "brats2023"


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["desc-brain_mask", "label-lesion_mask"], "label-lesion_mask"),
        (["mask", "dseg"], "dseg"),
        (["desc-aparcaseg_dseg", "label-GM_mask", "seg-tumor_dseg", "atlas-AAL_dseg"], "seg-tumor_dseg"),
        (["desc-brain_mask"], None),
    ],
)
def test_the_label_is_the_tumors(touch: Touch, names: list[str], label: str | None) -> None:
    root = touch(*session("01"), *(derived(name, "01") for name in names))
    (case,) = BIDSFormat(root).cohort().cases
    assert (case.label and case.label.path.name) == (label and f"sub-01_{label}.nii.gz")


def test_a_label_may_lie_beside_the_images_or_in_any_pipeline(touch: Touch) -> None:
    root = touch(
        *session("01"), *session("02"), "sub-01/anat/sub-01_dseg.nii.gz", derived("dseg", "02", pipeline="b/c")
    )
    assert [case.label is not None for case in BIDSFormat(root).cohort().cases] == [True, True]
    assert BIDSFormat(touch(derived("T1w", "03", pipeline="p")) / "derivatives" / "p").cohort().cases[0].id == "sub-03"


def test_one_of_several_files_is_chosen_by_its_entities(touch: Touch) -> None:
    root = touch(*session("01", series=("acq-iso_T1w", "acq-thick_T1w")), *session("02", series=("T1w",)))
    touch(derived("desc-a_dseg", "02"), derived("desc-b_dseg", "02"))
    cohort = BIDSFormat(root).cohort()
    assert cohort.excluded == {
        "sub-01": "2 files for t1: sub-01_acq-iso_T1w.nii.gz and sub-01_acq-thick_T1w.nii.gz; say which by "
        "dataset.entities, e.g. dataset.entities='{acq: iso}'",
        "sub-02": "2 files for label: sub-02_desc-a_dseg.nii.gz and sub-02_desc-b_dseg.nii.gz; say which by "
        "dataset.label, e.g. dataset.label='{desc: a}'",
    }
    chosen = load_cohort("bids", root, entities={"acq": "thick"}, label={"desc": "b"})
    assert chosen.cases[0].images["t1"].path.name == "sub-01_acq-thick_T1w.nii.gz"
    assert chosen.cases[1].label is not None
    assert chosen.cases[1].label.path.name == "sub-02_desc-b_dseg.nii.gz"


def test_tables_are_metadata(touch: Touch) -> None:
    root = touch(*session("01", "1"), *session("01", "2"), *session("02"))
    (root / "participants.tsv").write_text("participant_id\tage\tgrade\nsub-01\t61\tIV\nsub-02\tn/a\t\n")
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tweek\nses-1\t0\nses-2\t12\n")
    assert [dict(case.metadata) for case in BIDSFormat(root).cohort().cases] == [
        {"age": 61.0, "grade": "IV", "week": 0.0},
        {"age": 61.0, "grade": "IV", "week": 12.0},
        {},
    ]
    (root / "participants.tsv").write_text("id\tage\nsub-01\t61\n")
    with pytest.raises(NeuroprintError, match=r"participants.tsv has no column participant_id \(found id, age\)"):
        BIDSFormat(root).cohort()
    (root / "participants.tsv").write_bytes(b"participant_id\t\xff\xfe\n")
    with pytest.raises(NeuroprintError, match=r"participants.tsv cannot be read .*\nexpected a table in UTF-8"):
        BIDSFormat(root).cohort()


def test_a_single_session_is_the_case_of_its_cohort(touch: Touch) -> None:
    root = touch(*session("01", "1"), *session("01", "2"), *session("02"), derived("dseg", "01", "1"))
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t61\n")
    reader = BIDSFormat(root)
    first, _, last = reader.cohort().cases
    for path in ("sub-01/ses-1", "sub-01/ses-1/anat", "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz"):
        assert reader.case(root / path, FOUR) == read_case(root / path, FOUR) == first
    assert reader.case(root / "sub-02") == last


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("sub-01", NeuroprintError, r"holds 2 sessions \(sub-01_ses-1, sub-01_ses-2\), expected one"),
        ("sub-02", CaseError, "case sub-02: no file for t1ce, t2, found flair, t1; add what is missing"),
        ("derivatives", NeuroprintError, r"holds no case;\nexpected a BIDS data set"),
        ("nowhere/x", NeuroprintError, "there is no folder"),
    ],
)
def test_a_single_session_that_is_not_clear_is_said(touch: Touch, path: str, error: Any, said: str) -> None:
    root = touch(
        *session("01", "1"), *session("01", "2"), *session("02", series=("T1w", "FLAIR")), derived("dseg", "01", "1")
    )
    with pytest.raises(error, match=said):
        BIDSFormat(root).case(root / path, FOUR)


def test_a_data_set_is_recognized_and_anything_else_is_not(touch: Touch, tmp_path: Path) -> None:
    root = touch(*session("01"))
    assert recognize(root).name == "bids"
    with pytest.raises(NeuroprintError, match=rf"it looks like dataset=bids dataset\.root={root}"):
        load_cohort("brats", root)
    (tmp_path / "sub-1").mkdir()
    (tmp_path / "sub-1" / "sub-1_flair.nii.gz").touch()  # BraTS's naming in folders that begin so
    assert not BIDSFormat.recognizes(tmp_path)
    assert not BIDSFormat.recognizes(tmp_path / "nowhere")
    with pytest.raises(
        NeuroprintError, match=r"no subject with a T1w, T2w or FLAIR image in .*;\nexpected a BIDS data set"
    ):
        BIDSFormat(tmp_path).cohort()


def test_a_setting_that_cannot_work_is_said() -> None:
    with pytest.raises(NeuroprintError, match=r"dataset\.frame=head: must be one of world, brain"):
        BIDSFormat("x", frame="head")  # type: ignore[arg-type]
    with pytest.raises(NeuroprintError, match="labels=brat: expected one of any"):
        BIDSFormat("x", labels="brat")


def test_an_id_that_cannot_name_a_file_is_excluded(touch: Touch) -> None:
    root = touch(*session("0 1"), *session("02"))
    cohort = BIDSFormat(root).cohort()
    assert [case.id for case in cohort.cases] == ["sub-02"]
    assert "cannot name a file" in cohort.excluded["sub-0 1"]
