"""Layouts that a rule for names describes: the published ones as they are published, and one's own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuroprint.data.formats.pattern import PatternFormat
from neuroprint.data.load import load_cohort, read_case, recognize
from neuroprint.errors import CaseError, NeuroprintError

FOUR = ("flair", "t1", "t1ce", "t2")
Touch = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    """Make empty files below a root: finding cases looks at names only."""

    def make(names: Sequence[str], root: str = "data") -> Path:
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / root

    return make


def upenn(case: str, label: str = "") -> list[str]:
    files = [f"images_structural/{case}/{case}_{name}.nii.gz" for name in ("T1", "T1GD", "T2", "FLAIR")]
    files += [f"images_structural_unstripped/{case}/{case}_{name}_unstripped.nii.gz" for name in ("T1", "FLAIR")]
    files += [f"images_DSC/{case}/{case}_DSC.nii.gz"]
    names = {"hand": f"images_segm/{case}_segm.nii.gz", "auto": f"automated_segm/{case}_automated_approx_segm.nii.gz"}
    return files + [names[kind] for kind in label.split()]


def ucsf(case: str) -> list[str]:
    names = "T1 T1_bias T1c T1c_bias T2 T2_bias FLAIR FLAIR_bias SWI DWI ADC ASL DTI_eddy_FA brain_segmentation "
    names += "brain_parenchyma_segmentation tumor_segmentation"
    return [f"UCSF-PDGM-v3/{case}_nifti/{case}_{name}.nii.gz" for name in names.split()]


def lumiere(patient: str, week: str) -> list[str]:
    folder = f"Imaging/{patient}/{week}"
    files = [f"{folder}/{name}.nii.gz" for name in ("CT1", "T1", "T2", "FLAIR")]
    atlas = f"{folder}/DeepBraTumIA-segmentation/atlas"
    files += [f"{atlas}/skull_strip/{name}_skull_strip.nii.gz" for name in ("ct1", "t1", "t2", "flair")]
    files += [f"{atlas}/segmentation/seg_mask.nii.gz"]
    files += [f"{folder}/DeepBraTumIA-segmentation/native/segmentation/{m}_seg_mask.nii.gz" for m in ("ct1", "t1")]
    return [*files, f"{folder}/HD-GLIO-AUTO-segmentation/registered/segmentation.nii.gz"]


def men_rt(case: str) -> list[str]:
    return [f"BraTS-MEN-RT-Train-v2/{case}/{case}_{name}.nii.gz" for name in ("t1c", "gtv")]


def kaggle(case: str, number: str) -> list[str]:
    files = [f"{case}/{case}_{name}.nii/{number}_brain_{name}.nii" for name in ("flair", "t1", "t1ce", "t2")]
    return [*files, f"{case}/{case}_seg.nii/{number}_final_seg.nii"]


PUBLISHED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "upenn_gbm": (
        [*upenn("UPENN-GBM-00001_11", "hand auto"), *upenn("UPENN-GBM-00001_21"), *upenn("UPENN-GBM-00002_11", "auto")],
        {
            "frame": "world",
            "patients": {
                "UPENN-GBM-00001_11": "UPENN-GBM-00001",
                "UPENN-GBM-00001_21": "UPENN-GBM-00001",
                "UPENN-GBM-00002_11": "UPENN-GBM-00002",
            },
            "labels": ["UPENN-GBM-00001_11_segm.nii.gz", None, "UPENN-GBM-00002_11_automated_approx_segm.nii.gz"],
            "convention": "brats",
            "path": "images_structural/UPENN-GBM-00001_11",
            "t1ce": "UPENN-GBM-00001_11_T1GD.nii.gz",
        },
    ),
    "ucsf_pdgm": (
        [*ucsf("UCSF-PDGM-0004"), *ucsf("UCSF-PDGM-0429"), *ucsf("UCSF-PDGM-0429_FU003d")],
        {
            "frame": "brain",
            "patients": {
                "UCSF-PDGM-0004": "UCSF-PDGM-0004",
                "UCSF-PDGM-0429": "UCSF-PDGM-0429",
                "UCSF-PDGM-0429_FU003d": "UCSF-PDGM-0429",
            },
            "labels": [
                "UCSF-PDGM-0004_tumor_segmentation.nii.gz",
                "UCSF-PDGM-0429_tumor_segmentation.nii.gz",
                "UCSF-PDGM-0429_FU003d_tumor_segmentation.nii.gz",
            ],
            "convention": "brats",
            "path": "UCSF-PDGM-v3/UCSF-PDGM-0004_nifti",
            "t1ce": "UCSF-PDGM-0004_T1c.nii.gz",
        },
    ),
    "lumiere": (
        [
            *lumiere("Patient-001", "week-000-1"),
            *lumiere("Patient-001", "week-044"),
            *lumiere("Patient-002", "week-000"),
        ],
        {
            "frame": "world",
            "patients": {
                "Patient-001_week-000-1": "Patient-001",
                "Patient-001_week-044": "Patient-001",
                "Patient-002_week-000": "Patient-002",
            },
            "labels": ["seg_mask.nii.gz"] * 3,
            "convention": "1=enhancing 2=necrosis 3=edema",
            "path": "Imaging/Patient-001/week-000-1",
            "t1ce": "ct1_skull_strip.nii.gz",
        },
    ),
    "brats_men_rt": (
        [*men_rt("BraTS-MEN-RT-0001-1"), *men_rt("BraTS-MEN-RT-0402-1")],
        {
            "frame": "brain",
            "patients": {"BraTS-MEN-RT-0001-1": "BraTS-MEN-RT-0001", "BraTS-MEN-RT-0402-1": "BraTS-MEN-RT-0402"},
            "labels": ["BraTS-MEN-RT-0001-1_gtv.nii.gz", "BraTS-MEN-RT-0402-1_gtv.nii.gz"],
            "convention": "brats_men_rt",
            "path": "BraTS-MEN-RT-Train-v2/BraTS-MEN-RT-0001-1",
            "t1ce": "BraTS-MEN-RT-0001-1_t1c.nii.gz",
        },
    ),
    "kaggle": (
        [*kaggle("BraTS2021_00000", "00000057"), *kaggle("BraTS2021_00002", "00000377")],
        {
            "frame": "world",
            "patients": {"BraTS2021_00000": "BraTS2021_00000", "BraTS2021_00002": "BraTS2021_00002"},
            "labels": ["00000057_final_seg.nii", "00000377_final_seg.nii"],
            "convention": "brats",
            "path": "BraTS2021_00000",
            "t1ce": "00000057_brain_t1ce.nii",
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_data_set_is_read_under_its_own_names(name: str, touch: Touch) -> None:
    files, expected = PUBLISHED[name]
    root = touch(files)
    cohort = load_cohort(name, root)
    assert (cohort.name, cohort.frame, dict(cohort.excluded)) == (name, expected["frame"], {})
    assert {case.id: case.patient for case in cohort.cases} == expected["patients"]
    assert [case.label and case.label.path.name for case in cohort.cases] == expected["labels"]
    assert {case.label_convention for case in cohort.cases} == {expected["convention"]}
    assert cohort.modalities == (("t1ce",) if name == "brats_men_rt" else FOUR)
    assert cohort.cases[0].images["t1ce"].path.name == expected["t1ce"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_data_set_is_recognized_and_only_as_itself(name: str, touch: Touch) -> None:
    root = touch(PUBLISHED[name][0])
    assert recognize(root).name == name


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_single_case_of_a_published_data_set_is_the_one_of_its_cohort(name: str, touch: Touch) -> None:
    files, expected = PUBLISHED[name]
    root = touch(files)
    case = load_cohort(name, root).cases[0]
    assert read_case(root / expected["path"], tuple(case.images)) == case


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_data_set_read_as_brats_points_to_its_own_format(name: str, touch: Touch) -> None:
    root = touch(PUBLISHED[name][0])
    with pytest.raises(NeuroprintError) as caught:
        load_cohort("brats", root)
    assert str(caught.value).endswith(f"it looks like dataset={name} dataset.root={root}")
    assert len(str(caught.value)) < 1000


def test_a_case_is_read_where_only_the_end_of_its_path_is_as_published(touch: Touch) -> None:
    folder = touch(
        [Path(name).name for name in upenn("UPENN-GBM-00009_11") if "images_structural/" in name], "upload/new"
    )
    case = read_case(folder, FOUR)
    assert (case.id, case.patient, case.label) == ("UPENN-GBM-00009_11", "UPENN-GBM-00009", None)
    alone = touch([f"{name}_skull_strip.nii.gz" for name in ("ct1", "t1", "t2", "flair")], "upload/week-3")
    assert read_case(alone, FOUR).id == "week-3"


def test_a_layout_that_nobody_knows_says_what_was_seen_and_what_would_read_it(touch: Touch) -> None:
    root = touch(["P1/a/F.nii.gz", "P1/a/T.nii.gz"])
    for ask in (lambda: load_cohort("brats", root), lambda: recognize(root)):
        with pytest.raises(NeuroprintError) as caught:
            ask()
        assert "found P1/a/F.nii.gz and others" in str(caught.value)
        assert f"dataset=pattern dataset.root={root}" in str(caught.value)
        assert "dataset=manifest, reads anything" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "ids_"),
    [
        (["P1/flair.nii.gz", "P1/t1ce.nii.gz", "P1/t1.nii.gz", "P1/t2.nii.gz", "P1/seg.nii.gz"], ["P1"]),
        ([f"P1/P1_{name}.nii" for name in ("FLAIR", "T1GD", "T1", "T2", "tumor_segmentation")], ["P1"]),
        ([f"a/P1/v1/P1-{name}.nii.gz" for name in ("t2_flair", "T1w_post", "T1w", "T2w", "mask")], ["P1_v1"]),
    ],
)
def test_a_rule_that_is_guessed_from_the_names_reads_them(touch: Touch, names: list[str], ids_: list[str]) -> None:
    root = touch(names)
    with pytest.raises(NeuroprintError) as caught:
        load_cohort("brats", root)
    offered = next(line for line in str(caught.value).splitlines() if line.startswith("dataset=pattern"))
    settings = dict(word.partition("=")[::2] for word in shlex.split(offered.rstrip(";"))[2:])
    assert set(settings) == {"dataset.images", "dataset.label"}
    given = {key.removeprefix("dataset."): yaml.safe_load(value) for key, value in settings.items()}
    (case,) = load_cohort("pattern", root, **given).cases
    assert [case.id] == ids_
    assert tuple(sorted(case.images)) == FOUR
    assert case.label is not None


# --- one's own patterns ----------------------------------------------------------------------------------------------

OWN = {"flair": "{patient}/{case}/FLAIR.nii*", "t1": ["{patient}/{case}/MPRAGE.nii*", "{patient}/{case}/T1*.nii*"]}


def ids(cohort_or_cases: Any) -> list[str]:
    return [case.id for case in getattr(cohort_or_cases, "cases", cohort_or_cases)]


def test_patterns_of_ones_own_are_a_setting(touch: Touch) -> None:
    root = touch(
        [f"P1/{visit}/{name}.nii.gz" for visit in ("pre", "post") for name in ("FLAIR", "T1_1", "MPRAGE", "seg")]
    )
    settings: dict[str, Any] = {
        "images": OWN,
        "label": "{patient}/{case}/seg.nii*",
        "labels": {1: "edema"},
        "frame": "world",
    }
    cohort = load_cohort("pattern", root, **settings)
    assert {case.id: case.patient for case in cohort.cases} == {"P1_post": "P1", "P1_pre": "P1"}
    assert cohort.cases[0].images["t1"].path.name == "MPRAGE.nii.gz"
    assert (cohort.frame, cohort.cases[0].label_convention) == ("world", "1=edema")
    assert load_cohort("pattern", root, **settings | {"ids": "pr*"}).cases == cohort.cases[1:]


def test_a_case_that_lacks_a_file_or_has_two_is_excluded_with_one_line(touch: Touch) -> None:
    root = touch(
        [
            "P1/a/FLAIR.nii.gz",
            "P1/a/MPRAGE.nii.gz",
            "P2/a/FLAIR.nii",
            "P3/a/FLAIR.nii.gz",
            "P3/a/T1a.nii",
            "P3/a/T1b.nii",
        ]
    )
    cohort = PatternFormat(root, OWN).cohort()
    assert ids(cohort) == ["P1_a"]
    assert "no file for t1 (expected {patient}/a/MPRAGE.nii*, found FLAIR.nii)" in cohort.excluded["P2_a"]
    assert "two files for t1: T1a.nii and T1b.nii; expected one" in cohort.excluded["P3_a"]


def test_cases_of_two_patients_with_one_name_are_told_apart_by_the_patient(touch: Touch) -> None:
    root = touch(["A/P1/FLAIR.nii", "B/P1/FLAIR.nii"])
    assert ids(PatternFormat(root, {"flair": "{patient}/{case}/FLAIR.nii"}).cohort()) == ["A_P1", "B_P1"]
    cohort = PatternFormat(root, {"flair": "*/{case}/FLAIR.nii"}).cohort()
    assert "two files for flair: A/P1/FLAIR.nii and B/P1/FLAIR.nii" in cohort.excluded["P1"]


def test_a_label_whose_pattern_has_no_patient_belongs_to_the_case_of_that_name(touch: Touch) -> None:
    root = touch(["P1/v1/FLAIR.nii", "P2/v2/FLAIR.nii", "P3/v2/FLAIR.nii", "labels/v1.nii", "labels/v2.nii"])
    reader = PatternFormat(root, {"flair": "{patient}/{case}/FLAIR.nii"}, "labels/{case}.nii")
    assert [case.label and case.label.path.name for case in reader.cohort().cases] == ["v1.nii", None, None]
    assert reader.case(root / "P1" / "v1") == reader.cohort().cases[0]


def test_two_cases_of_one_name_are_refused(touch: Touch) -> None:
    root = touch(["P1/a/FLAIR.nii", "P1/P1_a/FLAIR.nii"])
    with pytest.raises(NeuroprintError, match="are called P1_a; rename the folder of one"):
        PatternFormat(root, {"flair": "{patient}/{case}/FLAIR.nii"}).cohort()


def test_hidden_files_and_loops_of_links_are_passed_over(touch: Touch) -> None:
    root = touch(["P1/a/FLAIR.nii", "P1/a/._FLAIR.nii", ".old/a/FLAIR.nii"])
    (root / "P1" / "again").symlink_to(root, target_is_directory=True)
    (root / "P1" / "b").symlink_to(root / "P1" / "a", target_is_directory=True)
    assert ids(PatternFormat(root, {"flair": "**/{patient}/{case}/FLAIR.nii"}).cohort()) == ["P1_a"]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({"flair": "*/FLAIR.nii"}, r"the pattern '\*/FLAIR.nii' of flair must hold \{case\}"),
        ({"flair": "{case}/{visit}.nii"}, "may hold {patient}"),
        ({}, "expected a pattern for each modality"),
    ],
)
def test_a_pattern_that_cannot_work_is_said(images: dict[str, str], said: str) -> None:
    with pytest.raises(NeuroprintError, match=said):
        PatternFormat("x", images)


def test_patterns_that_nothing_follows_name_what_was_found(touch: Touch) -> None:
    root = touch(["P1/a/F.nii.gz"])
    with pytest.raises(NeuroprintError, match=r"(?s)follows the patterns .*/FLAIR.nii\*.*found P1/a/F.nii.gz"):
        PatternFormat(root, OWN).cohort()
    with pytest.raises(NeuroprintError, match="there is no folder"):
        PatternFormat(root / "nowhere", OWN).cohort()
    with pytest.raises(NeuroprintError, match=r"dataset\.frame=head: must be one of world, brain"):
        PatternFormat(root, OWN, frame="head")  # type: ignore[arg-type]


def test_a_single_case_that_is_not_clear_is_said(touch: Touch) -> None:
    root = touch(["P1/a/FLAIR.nii", "P1/b/FLAIR.nii", "P2/a/T2.nii"])
    reader = PatternFormat(root, {"flair": "{patient}/{case}/FLAIR.nii", "t2": "{patient}/{case}/T2.nii"})
    with pytest.raises(NeuroprintError, match=r"holds 2 cases \(P1_a, P1_b\), expected one"):
        reader.case(root / "P1")
    with pytest.raises(CaseError, match=r"case P1_a: no file for t2"):
        reader.case(root / "P1" / "a")
    assert reader.case(root / "P1" / "a", ("flair",)).id == "P1_a"
    assert reader.case(root / "P1" / "b" / "FLAIR.nii", ("flair",)).id == "P1_b"
    with pytest.raises(NeuroprintError, match="holds no case: expected files such as"):
        reader.case(touch(["x.nii"], "elsewhere"))


def test_a_pattern_that_takes_every_file_tells_no_case(touch: Touch) -> None:
    reader = PatternFormat("x", {"t1": "{case}/{case}_t1/*.nii", "t2": "{case}/{case}_t2/*.nii"})
    with pytest.raises(NeuroprintError, match="holds no case"):
        reader.case(touch(["scan.nii"]))
