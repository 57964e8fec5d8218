"""Label numbers mean what the edition of BraTS says, and surprises are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuroprint.data.labels import (
    CHALLENGES,
    CONVENTIONS,
    REGIONS,
    actual_convention,
    check_label_values,
    convention_by_name,
    convention_of,
    label_doubts,
    label_table,
    region_labels,
    tells_parts,
)
from neuroprint.errors import CaseError, NeuroprintError


@pytest.mark.parametrize(
    ("convention", "whole", "core", "enhancing"),
    [
        ("brats", {1, 2, 4}, {1, 4}, {4}),
        ("brats2023", {1, 2, 3}, {1, 3}, {3}),
        ("msd", {1, 2, 3}, {2, 3}, {3}),
        ("brats_ped", {1, 2, 3, 4}, {1, 2, 3}, {1}),
        ("1=edema 2=cavity 5=enhancing 7=cyst", {1, 5, 7}, {5, 7}, {5}),
    ],
)
def test_regions_by_convention(convention: str, whole: set[int], core: set[int], enhancing: set[int]) -> None:
    found = [region_labels(convention, region, {1, 2}) for region in REGIONS]  # type: ignore[arg-type]
    assert found == [whole, core, enhancing]


def test_a_brats_label_with_3_and_no_4_follows_the_later_convention() -> None:
    assert actual_convention("brats", {1, 2, 3}) == "brats2023"
    assert actual_convention("brats", {1, 2, 4}) == "brats"
    assert actual_convention("brats", {1, 2}) == "brats"
    assert actual_convention("msd", {3}) == "msd"
    assert region_labels("brats", "enhancing", {0, 1, 3}) == {3}
    check_label_values("c", "c_seg.nii.gz", "brats", {0, 1, 2, 3})


def test_the_cavity_of_2024_is_allowed_and_no_tumor() -> None:
    check_label_values("c", "c-seg.nii.gz", "brats2023", {0, 1, 2, 3, 4})
    assert 4 not in region_labels("brats2023", "whole_tumor", {1, 2, 3, 4})


def test_any_knows_the_whole_tumor_only() -> None:
    check_label_values("c", "seg.nii", "any", {0, 7, 200})
    assert region_labels("any", "whole_tumor", {0, 7, 200}) == {7, 200}
    for region in ("tumor_core", "enhancing"):
        with pytest.raises(NeuroprintError, match=f"'{region}'.*declare dataset.labels"):
            region_labels("any", region, {1})


def test_an_unknown_region_names_the_regions() -> None:
    with pytest.raises(NeuroprintError, match="no region 'edema'; the regions are whole_tumor, tumor_core, enhancing"):
        region_labels("brats", "edema", {1})


@pytest.mark.parametrize(
    ("convention", "values", "said"),
    [
        ("brats", {0, 1, 7}, r"c_seg.nii.gz holds the values \[1, 7\], expected only \[1, 2, 4\].*dataset.labels"),
        ("brats", {3, 7}, r"\[3, 7\], expected only \[1, 2, 3, 4\]"),
        ("brats", {1, 3, 4}, r"holds both 3 and 4 \(found \[1, 3, 4\]\).*correct the label"),
        ("brats2023", {5}, r"\[5\], expected only \[1, 2, 3, 4\]"),
        ("msd", {4}, r"\[4\], expected only \[1, 2, 3\]"),
        ("brats_men_rt", {2}, r"\[2\], expected only \[1\]"),
        ("1=cyst", {2}, r"\[2\], expected only \[1\]"),
    ],
)
def test_unexpected_values_are_named(convention: str, values: set[int], said: str) -> None:
    with pytest.raises(CaseError, match=f"case c: .*{said}"):
        check_label_values("c", "c_seg.nii.gz", convention, values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "convention"),
    [
        ("BraTS-GLI-00000-000", "brats2023"),
        ("BraTS-SSA-00002-000", "brats2023"),
        ("BraTS-MEN-00004-000", "brats2023"),
        ("BraTS-MET-00001-000", "brats2023"),
        ("BraTS-PED-00001-000", "brats_ped"),
        ("BraTS-MEN-RT-0001-1", "brats_men_rt"),
        ("BraTS2021_00000", "brats"),
        ("Brats18_2013_2_1", "brats"),
        ("BraTS20_Training_355", "brats"),
        ("brats_2013_pat0001_1", "what its files say"),
        ("Patient_1", "what its files say"),
    ],
)
def test_a_challenge_is_told_by_the_name_of_its_cases(case: str, convention: str) -> None:
    assert convention_by_name(case, "what its files say") == convention


def test_every_convention_of_a_challenge_is_known_and_has_a_source() -> None:
    assert {row.convention for row in CHALLENGES} == set(CONVENTIONS)
    assert all(row.source.startswith("arXiv:") for row in CHALLENGES)


def test_the_table_in_the_docs_is_the_codes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert f"<!-- labels -->\n{label_table()}\n<!-- end of labels -->" in page


def test_labels_are_declared_by_name_or_number_by_number() -> None:
    assert [convention_of(name) for name in ("any", "msd", "brats_ped")] == ["any", "msd", "brats_ped"]
    spelled = convention_of({"4": "edema", 1: "enhancing"})
    assert spelled == convention_of(spelled) == "1=enhancing 4=edema"
    assert region_labels(spelled, "whole_tumor", {1, 4}) == {1, 4}


@pytest.mark.parametrize(
    "labels", ["brat", "", {}, {0: "edema"}, {256: "edema"}, {1: "oedema"}, {"x": "edema"}, 3, ["brats"]]
)
def test_labels_that_are_not_understood_are_said(labels: object) -> None:
    with pytest.raises(NeuroprintError, match=r"labels=.*: expected one of any, brats, .*or what each number means"):
        convention_of(labels)  # type: ignore[arg-type]


def test_a_target_volume_is_the_whole_tumor_and_tells_no_part() -> None:
    assert region_labels("brats_men_rt", "whole_tumor", {1}) == {1}
    with pytest.raises(NeuroprintError, match="'enhancing' needs to know"):
        region_labels("brats_men_rt", "enhancing", {1})
    assert [tells_parts(name) for name in ("any", "brats_men_rt", "brats", "1=cyst")] == [False, False, True, True]


def test_what_names_and_values_leave_open_is_said_once_for_a_cohort() -> None:
    ped = [(f"BraTS-PED-0000{n}-000", "brats_ped", {1, 2, 3}) for n in range(3)]
    (first, said), *more = label_doubts(ped).items()
    assert (first, more) == ("BraTS-PED-00000-000", [])
    assert "those of 2023 mean 1 necrosis" in said
    assert said.endswith("declare which in dataset.labels (and 2 more cases alike)")
    assert label_doubts([*ped, ("BraTS-PED-00009-000", "brats_ped", {2, 4})]) == {}
    cavity = {"BraTS-GLI-00005-100": "brats2023", "BraTS-MET-00001-000": "brats2023", "mine-001": "brats2023"}
    found = label_doubts((case, convention, {1, 4}) for case, convention in cavity.items())
    assert list(found) == ["mine-001"]
    assert "resection cavity" in found["mine-001"]
    renumbered = label_doubts([("BraTS2021_00000", "brats", {1, 2, 4}), ("BraTS2021_00001", "brats", {1, 3})])
    assert list(renumbered) == ["BraTS2021_00001"]
    assert label_doubts([("a", "1=edema", {1}), ("b", "any", {3, 4}), ("c", "msd", {3})]) == {}
