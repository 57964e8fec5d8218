"""Label numbers mean what the edition of BraTS says, and surprises are named."""

from __future__ import annotations

import pytest

from neuroprint.data.labels import REGIONS, actual_convention, check_label_values, region_labels
from neuroprint.errors import CaseError, NeuroprintError


@pytest.mark.parametrize(
    ("convention", "whole", "core", "enhancing"),
    [
        ("brats", {1, 2, 4}, {1, 4}, {4}),
        ("brats2023", {1, 2, 3}, {1, 3}, {3}),
        ("msd", {1, 2, 3}, {2, 3}, {3}),
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
    ],
)
def test_unexpected_values_are_named(convention: str, values: set[int], said: str) -> None:
    with pytest.raises(CaseError, match=f"case c: .*{said}"):
        check_label_values("c", "c_seg.nii.gz", convention, values)  # type: ignore[arg-type]
