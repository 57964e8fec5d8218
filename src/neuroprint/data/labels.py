"""What the numbers of a tumor label mean, and which of them make up a region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Collection

    from neuroprint.data.case import LabelConvention

REGIONS = ("whole_tumor", "tumor_core", "enhancing")

# From 2024 on, BraTS label 4 is the resection cavity: allowed in 'brats2023', but no tumor.
_REGION_LABELS: dict[LabelConvention, dict[str, frozenset[int]]] = {
    "brats": {
        "whole_tumor": frozenset({1, 2, 4}),
        "tumor_core": frozenset({1, 4}),
        "enhancing": frozenset({4}),
    },
    "brats2023": {
        "whole_tumor": frozenset({1, 2, 3}),
        "tumor_core": frozenset({1, 3}),
        "enhancing": frozenset({3}),
    },
    "msd": {
        "whole_tumor": frozenset({1, 2, 3}),
        "tumor_core": frozenset({2, 3}),
        "enhancing": frozenset({3}),
    },
}
_ALLOWED: dict[LabelConvention, frozenset[int]] = {
    "brats": frozenset({1, 2, 4}),
    "brats2023": frozenset({1, 2, 3, 4}),
    "msd": frozenset({1, 2, 3}),
}


def actual_convention(declared: LabelConvention, values: Collection[int]) -> LabelConvention:
    """Return the convention that a label really follows.

    File names tell the convention by the edition of BraTS, but people rename files: a label declared ``brats``
    (1, 2, 4) that holds 3 and no 4 was written by the later convention (1, 2, 3) and is read so.

    Args:
        declared: What the cohort says.
        values: The values found in the label.
    """
    return "brats2023" if declared == "brats" and 3 in values and 4 not in values else declared


def check_label_values(case: str, file_name: str, declared: LabelConvention, values: Collection[int]) -> None:
    """Refuse a label whose values the declared convention does not know.

    Raises:
        CaseError: A value is unexpected, or a ``brats`` label holds both 3 and 4.
    """
    convention = actual_convention(declared, values)
    if convention == "any":
        return
    found = sorted(set(values) - {0})
    if declared == "brats" and {3, 4} <= set(found):
        raise CaseError(
            case,
            f"{file_name} holds both 3 and 4 (found {found}): 4 is enhancing tumor up to 2021 and a cavity from 2024, "
            "expected only one of them; use the naming of 2023 (<case>-seg.nii.gz) or correct the label",
        )
    expected = _ALLOWED[convention]
    if not set(found) <= expected:
        raise CaseError(
            case,
            f"{file_name} holds the values {found}, expected only {sorted(expected)} beside 0 "
            f"(label convention '{convention}'); correct the label or declare another convention in dataset.labels",
        )


def region_labels(declared: LabelConvention, region: str, values: Collection[int]) -> frozenset[int]:
    """Return the label values that make up a region.

    Args:
        declared: The cohort's label convention. Under ``any``, every non-zero value is whole tumor.
        region: One of :data:`REGIONS`.
        values: The values found in the label.

    Raises:
        NeuroprintError: Unknown region, or a part of the tumor is asked for where the convention is ``any``.
    """
    check_region(region)
    convention = actual_convention(declared, values)
    if convention != "any":
        return _REGION_LABELS[convention][region]
    if region != "whole_tumor":
        raise NeuroprintError(
            f"the region '{region}' needs to know what the label's numbers mean, and this cohort does not say; "
            "declare dataset.labels as brats (1/2/4), brats2023 (1/2/3) or msd, or use the region whole_tumor"
        )
    return frozenset(values) - {0}


def check_region(region: str) -> None:
    """Raise NeuroprintError for a region that does not exist."""
    if region not in REGIONS:
        raise NeuroprintError(f"there is no region '{region}'; the regions are {', '.join(REGIONS)}")
