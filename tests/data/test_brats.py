"""BraTS folders are told by their content; what is not clear is said, not guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neuroprint.data.case import Case
from neuroprint.data.formats.brats import MODALITIES, BraTSFormat
from neuroprint.errors import CaseError, NeuroprintError

WriteCase = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Make empty files: finding cases looks at names only."""

    def make(case: str, *names: str) -> Path:
        folder = tmp_path / case
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).touch()
        return folder

    return make


def read_case(folder: Path, modalities: tuple[str, ...] = MODALITIES) -> Case:
    return BraTSFormat("a root that is not looked at").case(folder, modalities)


def _old(case: str, *, seg: bool = True, suffix: str = ".nii.gz") -> list[str]:
    return [f"{case}_{m}{suffix}" for m in ("flair", "t1ce", "t1", "t2", *(["seg"] if seg else []))]


def _new(case: str) -> list[str]:
    return [f"{case}-{m}.nii.gz" for m in ("t2f", "t1c", "t1n", "t2w", "seg")]


def test_both_namings_may_be_mixed_at_both_depths(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("HGG/Brats18_2013_2_1", *_old("Brats18_2013_2_1", suffix=".nii"))
    touch("BraTS2021_00000", *_old("BraTS2021_00000"))
    touch("BraTS-GLI-00001-000", *_new("BraTS-GLI-00001-000"))
    cohort = BraTSFormat(tmp_path).cohort()
    assert (cohort.name, cohort.frame, dict(cohort.excluded)) == ("brats", "world", {})
    assert [case.id for case in cohort.cases] == ["BraTS-GLI-00001-000", "BraTS2021_00000", "Brats18_2013_2_1"]
    assert [case.label_convention for case in cohort.cases] == ["brats2023", "brats", "brats"]
    gli, _, hgg = cohort.cases
    assert {name: image.path.name for name, image in gli.images.items()} == {
        "flair": "BraTS-GLI-00001-000-t2f.nii.gz",
        "t1ce": "BraTS-GLI-00001-000-t1c.nii.gz",
        "t1": "BraTS-GLI-00001-000-t1n.nii.gz",
        "t2": "BraTS-GLI-00001-000-t2w.nii.gz",
    }
    assert gli.label is not None
    assert gli.label.path.name == "BraTS-GLI-00001-000-seg.nii.gz"
    assert hgg.images["t1ce"].path == tmp_path / "HGG" / hgg.id / f"{hgg.id}_t1ce.nii"


def test_time_points_share_a_patient_only_where_ids_carry_them(tmp_path: Path, touch: Callable[..., Path]) -> None:
    for case in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-101", "BraTS-GLI-00002-000", "site-001"):
        touch(case, *_new(case))
    touch("BraTS2021_00001", *_old("BraTS2021_00001"))
    touch("old-0001-001", *_old("old-0001-001"))
    patients = {case.id: case.patient for case in BraTSFormat(tmp_path).cohort().cases}
    assert patients == {
        "BraTS-GLI-00001-000": "BraTS-GLI-00001",
        "BraTS-GLI-00001-101": "BraTS-GLI-00001",
        "BraTS-GLI-00002-000": "BraTS-GLI-00002",
        "site-001": "site-001",
        "BraTS2021_00001": "BraTS2021_00001",
        "old-0001-001": "old-0001-001",
    }


def test_a_case_without_a_label_is_a_case(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("a", *_old("a", seg=False))
    assert BraTSFormat(tmp_path).cohort().cases[0].label is None


def test_a_renamed_folder_is_read_by_its_content_and_leftovers_do_not_count(
    tmp_path: Path, touch: Callable[..., Path]
) -> None:
    touch("renamed", *_old("BraTS2021_00000"))
    touch("b", *_old("b"), "copy_of_b_flair.nii.gz", "notes.txt")
    cohort = BraTSFormat(tmp_path).cohort()
    assert [case.id for case in cohort.cases] == ["b", "renamed"]
    assert cohort.cases[0].images["flair"].path.name == "b_flair.nii.gz"


def test_hidden_files_and_resource_forks_are_ignored(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("a", *_old("a"), *(f"._{name}" for name in _old("a")))
    touch(".cache/b", *_old("b"))
    (tmp_path / "._a").touch()
    cohort = BraTSFormat(tmp_path).cohort()
    assert [case.id for case in cohort.cases] == ["a"]
    assert not cohort.excluded


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"x_{m}.nii.gz" for m in ("flair", "t1", "t2")], ["x_t1ce.nii.gz missing", "found x_flair.nii.gz", "add"]),
        ([*_old("x"), "x_t1.nii"], ["two files for t1", "x_t1.nii", "x_t1.nii.gz", "remove the other"]),
        ([*_old("x"), *_new("x")], ["both namings", "move one set"]),
        ([*_old("y"), *_old("z")], ["two files for flair", "remove the other"]),
        (["scan.nii.gz"], ["x_flair.nii.gz", "missing", "found scan.nii.gz", "add"]),
        ([], ["x_flair.nii.gz", "missing", "found an empty folder", "remove the folder"]),
    ],
)
def test_an_unclear_folder_is_excluded_with_one_line(
    tmp_path: Path, touch: Callable[..., Path], names: list[str], said: list[str]
) -> None:
    touch("a", *_old("a"))
    folder = touch("x", *names)
    cohort = BraTSFormat(tmp_path).cohort()
    assert [case.id for case in cohort.cases] == ["a"]
    assert list(cohort.excluded) == ["x"]
    assert "\n" not in cohort.excluded["x"]
    for words in said:
        assert words in cohort.excluded["x"]
    if any(name.startswith("x_") for name in names):
        with pytest.raises(CaseError, match="case x: "):
            read_case(folder)


def test_a_case_whose_files_have_become_folders_is_one_line(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("a", *_old("a"))
    for name in _old("x"):
        touch(f"x/{name.removesuffix('.gz')}", f"00000057_brain_{name.rpartition('_')[2]}")
    cohort = BraTSFormat(tmp_path).cohort()
    assert [case.id for case in cohort.cases] == ["a"]
    assert list(cohort.excluded) == ["x"]
    assert "found x_flair.nii/, x_seg.nii/" in cohort.excluded["x"]


def test_the_pediatric_challenges_labels_are_its_own(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("BraTS-PED-00001-000", *_new("BraTS-PED-00001-000"))
    assert BraTSFormat(tmp_path).cohort().cases[0].label_convention == "brats_ped"
    assert BraTSFormat(tmp_path, "brats2023").cohort().cases[0].label_convention == "brats2023"
    assert BraTSFormat(tmp_path, {1: "edema"}).cohort().cases[0].label_convention == "1=edema"


def test_an_id_that_cannot_name_a_file_is_excluded(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("a b", *_old("a b"))
    cohort = BraTSFormat(tmp_path).cohort()
    assert "rename the folder" in cohort.excluded["a b"]


def test_folders_that_are_no_cases_are_ignored(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("a", *_old("a"))
    touch("tables", "survival.csv")
    assert not BraTSFormat(tmp_path).cohort().excluded


def test_a_root_that_is_missing_or_a_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(NeuroprintError, match=r"no folder .*nowhere;\nexpected one folder per case"):
        BraTSFormat(tmp_path / "nowhere").cohort()
    (tmp_path / "data.zip").touch()
    with pytest.raises(NeuroprintError, match=r"(?s)data.zip is a file.*pass the folder, unpacked"):
        BraTSFormat(tmp_path / "data.zip").cohort()


def test_a_root_without_cases_says_what_was_expected_and_found(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("tables", "survival.csv")
    with pytest.raises(NeuroprintError, match=r"(?s)no case found in .*expected one folder per case.*found tables/"):
        BraTSFormat(tmp_path).cohort()


def test_a_root_that_is_a_single_case_points_to_the_folder_above(tmp_path: Path, touch: Callable[..., Path]) -> None:
    folder = touch("a", *_old("a"))
    with pytest.raises(NeuroprintError, match=r"single case;\npass the folder above") as caught:
        BraTSFormat(folder).cohort()
    assert str(caught.value).endswith(str(tmp_path))


def test_files_of_many_cases_in_one_folder_are_refused(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch(".", *_old("a"), *_old("b"))
    with pytest.raises(NeuroprintError, match=r"(?s)files of 2 cases side by side.*make a folder for each"):
        BraTSFormat(tmp_path).cohort()


def test_one_id_in_two_folders_is_refused(tmp_path: Path, touch: Callable[..., Path]) -> None:
    touch("HGG/a", *_old("a"))
    touch("LGG/a", *_old("a"))
    with pytest.raises(NeuroprintError, match=r"(?s)first is a:.*HGG.*LGG.*remove or rename"):
        BraTSFormat(tmp_path).cohort()


def test_a_case_folder_reads_as_the_case_found_below_its_root(tmp_path: Path, touch: Callable[..., Path]) -> None:
    folder = touch("a", *_old("a"))
    assert read_case(folder) == BraTSFormat(tmp_path).cohort().cases[0]


@pytest.mark.parametrize(
    ("names", "needed", "found"),
    [
        (["x_flair.nii.gz", "x_t1.nii", "x_t1.nii.gz"], ("flair",), {"flair": "x_flair.nii.gz"}),
        (["x-t2f.nii.gz", "x-seg.nii.gz"], ("flair",), {"flair": "x-t2f.nii.gz"}),
        (
            ["x_ADC.nii", "x_adc_map.nii", "x_dwi.nii"],
            ("adc", "adc_map"),
            {"adc": "x_ADC.nii", "adc_map": "x_adc_map.nii"},
        ),
        (["x-adc.nii.gz", "x-t1c.nii.gz"], ("t1ce", "adc"), {"adc": "x-adc.nii.gz", "t1ce": "x-t1c.nii.gz"}),
        (["x_t1.nii", "x_flair.nii", "x_t2.nii"], ("t1",), {"t1": "x_t1.nii", "flair": "x_flair.nii"}),
        (["x_t1.nii", "x_flair.nii", "x-t2f.nii"], ("t1",), {"t1": "x_t1.nii"}),
        (["x_t1.nii", "y_flair.nii"], ("t1",), {"t1": "x_t1.nii"}),
    ],
)
def test_a_case_needs_the_modalities_that_are_asked_for_and_the_others_are_ignored(
    touch: Callable[..., Path], names: list[str], needed: tuple[str, ...], found: dict[str, str]
) -> None:
    case = read_case(touch("x", *names), needed)
    assert {name: image.path.name for name, image in case.images.items()} == found
    assert (case.label is not None) == any("seg" in name for name in names)


def test_a_modality_that_is_asked_for_and_missing_is_named(touch: Callable[..., Path], tmp_path: Path) -> None:
    folder = touch("x", *_old("x"))
    with pytest.raises(CaseError, match=r"x_adc\.nii\.gz missing: expected flair, adc, found x_flair"):
        read_case(folder, ("flair", "adc"))
    with pytest.raises(CaseError, match=r"two files for adc: x_adc\.nii and x_adc\.nii\.gz"):
        read_case(touch("x", "x_adc.nii", "x_adc.nii.gz"), ("adc",))
    touch("study/y", "y_adc.nii")
    with pytest.raises(NeuroprintError, match=r"holds 1 case folder.*\npass one of them"):
        read_case(tmp_path / "study", ("adc",))
    with pytest.raises(
        NeuroprintError, match=r"holds no case: expected files <case>_\{t1,adc\}.* or <case>-\{t1n,adc\}"
    ):
        read_case(touch("empty"), ("t1", "adc"))


def test_a_folder_that_is_no_case_is_said(tmp_path: Path, touch: Callable[..., Path]) -> None:
    folder = touch("a", *_old("a"))
    with pytest.raises(NeuroprintError, match=r"holds 1 case folder.*\npass one of them") as caught:
        read_case(tmp_path)
    assert str(folder) in str(caught.value)
    with pytest.raises(NeuroprintError, match=r"(?s)holds no case: expected files .*found an empty folder"):
        read_case(touch("empty"))
    with pytest.raises(NeuroprintError, match="there is no folder"):
        read_case(tmp_path / "nowhere")


def test_a_folder_that_may_not_be_read_is_said(
    tmp_path: Path, touch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    touch("a", *_old("a"))

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(NeuroprintError, match="may not be read"):
        BraTSFormat(tmp_path).cohort()


def test_real_patients_are_found_complete(real_root: Path) -> None:
    cohort = BraTSFormat(real_root).cohort()
    assert cohort.cases
    assert not cohort.excluded
    assert all(case.patient == case.id and case.label and len(case.images) == 4 for case in cohort.cases)
