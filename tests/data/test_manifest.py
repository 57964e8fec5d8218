"""A CSV names the cases; a row that cannot be right is refused or excluded by its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from neuroprint.data.case import ImageFile
from neuroprint.data.formats.manifest import ManifestFormat
from neuroprint.errors import NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[..., Path]:
    """Write a CSV, and empty files of the given names beside it."""

    def make(text: str, *files: str) -> Path:
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        path = tmp_path / "cohort.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def test_columns_are_told_by_what_they_hold(tmp_path: Path, manifest: Callable[..., Path]) -> None:
    elsewhere = tmp_path / "elsewhere" / "b.nii"
    path = manifest(
        "\ufeffid, patient ,flair,adc,label,grade,site,age\n"
        f'p1.b,p1,{elsewhere},,,4,"Bonn, West",61.5\n'
        "p1.a,p1,img/a.nii.gz,img/adc.nii,seg/a.nii.gz,3,Ulm,\n"
        "\n"
        "p2,,img/c.nii.gz,,,NA,,nan\n",
        "elsewhere/b.nii",
        "img/a.nii.gz",
        "img/adc.nii",
        "seg/a.nii.gz",
        "img/c.nii.gz",
    )
    cohort = ManifestFormat(path, "msd").cohort()
    assert (cohort.name, cohort.frame, dict(cohort.excluded)) == ("manifest", "brain", {})
    a, b, c = cohort.cases
    assert [case.id for case in cohort.cases] == ["p1.a", "p1.b", "p2"]
    assert [case.patient for case in cohort.cases] == ["p1", "p1", "p2"]
    assert a.images == {
        "flair": ImageFile(tmp_path / "img" / "a.nii.gz"),
        "adc": ImageFile(tmp_path / "img" / "adc.nii"),
    }
    assert a.label == ImageFile(tmp_path / "seg" / "a.nii.gz")
    assert b.images == {"flair": ImageFile(elsewhere)}
    assert b.label is None
    assert a.metadata == {"grade": 3.0, "site": "Ulm"}
    assert b.metadata == {"grade": 4.0, "age": 61.5, "site": "Bonn, West"}
    assert c.metadata == {}
    assert a.label_convention == "msd"
    assert ManifestFormat(path).cohort().cases[0].label_convention == "any"


def test_a_column_is_numeric_only_if_all_of_it_is(manifest: Callable[..., Path]) -> None:
    path = manifest("id,t1,arm\na,a.nii,1\nb,b.nii,1b\n", "a.nii", "b.nii")
    assert [case.metadata["arm"] for case in ManifestFormat(path).cohort().cases] == ["1", "1b"]


def test_a_case_whose_file_is_not_there_is_excluded(manifest: Callable[..., Path]) -> None:
    path = manifest("id,t1,label\na,a.nii,\nb,gone.nii,\nc,c.nii,lost.nii\nd,,\n", "a.nii", "c.nii")
    cohort = ManifestFormat(path).cohort()
    assert [case.id for case in cohort.cases] == ["a"]
    assert "the t1 file gone.nii (line 3) is not there" in cohort.excluded["b"]
    assert "correct the path" in cohort.excluded["b"]
    assert "the label file lost.nii (line 4)" in cohort.excluded["c"]
    assert "line 5 names no image, expected one of t1" in cohort.excluded["d"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"cohort.csv is empty.*expected a header"),
        ("\n \n", r"cohort.csv is empty"),
        ("id,t1\n", r"a header and no row.*add them"),
        ("case,t1\na,a.nii\n", r"no column id \(found case, t1\).*add the column id"),
        ("id;t1\na;a.nii\n", r"no column id.*separate the columns by commas"),
        ("id,t1\na,a.nii\na,b.nii\n", r"lines 2 and 3 have the same id a.*own id"),
        ("id,grade\na,4\n", r"no modality column \(found grade.*add it"),
        ("id\na\n", r"no modality column \(found nothing"),
        ("id,t1,label\na,,a.nii\n", r"no modality column"),
        ("id,t1\na,a.nii\nb,b.mha\n", r"line 3: the column t1 holds NIfTI paths, but here 'b.mha'.*correct"),
        ("id,t1\na,a.nii\nb,./a.nii\n", r"line 3: a.nii is used twice, by a \(t1\) and by b \(t1\).*correct the path"),
        ("id,t1,t2\na,a.nii,a.nii\n", r"line 2: a.nii is used twice, by a \(t1\) and by a \(t2\)"),
        ("id,t1\n../a,a.nii\n", r"line 2: the id '../a' cannot name a file.*change the id"),
        ("id,t1\n.a,a.nii\n", r"cannot name a file"),
        ("id,t1\na b,a.nii\n", r"cannot name a file"),
        ("id,t1\n,a.nii\n", r"line 2: the id '' cannot name a file"),
        ("id,t1,t1\na,a.nii,b.nii\n", r"repeat or have no name: t1.*rename"),
        ("id,t1,\na,a.nii,3\n", r"repeat or have no name: \(no name\)"),
        ("id,t1\na,a.nii,extra\n", r"line 2 has 3 cells, expected 2"),
        ('id,t1\na,"a.nii\n', r"no CSV in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(manifest: Callable[..., Path], text: str, said: str) -> None:
    path = manifest(text, "a.nii", "b.nii", "b.mha")
    with pytest.raises(NeuroprintError, match=f"(?s){said}") as caught:
        ManifestFormat(path).cohort()
    assert str(path) in str(caught.value)


def test_one_file_by_two_names_is_refused(tmp_path: Path, manifest: Callable[..., Path]) -> None:
    path = manifest("id,t1\na,a.nii\nb,b.nii\n", "a.nii")
    (tmp_path / "b.nii").symlink_to(tmp_path / "a.nii")
    with pytest.raises(NeuroprintError, match=r"line 3: b.nii is used twice, by a \(t1\) and by b \(t1\)"):
        ManifestFormat(path).cohort()


def test_a_manifest_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(NeuroprintError, match=r"(?s)nowhere.csv cannot be read.*pass a CSV file"):
        ManifestFormat(tmp_path / "nowhere.csv").cohort()
    with pytest.raises(NeuroprintError, match="cannot be read"):
        ManifestFormat(tmp_path).cohort()
    (tmp_path / "latin.csv").write_bytes("id,t1\nä,a.nii\n".encode("latin-1"))
    with pytest.raises(NeuroprintError, match=r"(?s)latin.csv is no CSV in UTF-8.*save it again"):
        ManifestFormat(tmp_path / "latin.csv").cohort()
