"""What the numbers of a tumor label mean, and which of them make up a region."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from neuroprint.data.case import LabelConvention

AUTO = "auto"
"""In the place of a convention: it is told by each case's name."""

REGIONS = ("whole_tumor", "tumor_core", "enhancing")
LABEL_TISSUES = ("necrosis", "nonenhancing", "cyst", "edema", "enhancing", "cavity", "tumor")
"""What a number can stand for. ``tumor`` is tumor whose parts are not told apart; a resection cavity is no tumor."""

CONVENTIONS: Mapping[str, Mapping[int, str]] = {
    "brats": {1: "necrosis", 2: "edema", 4: "enhancing"},
    "brats2023": {1: "necrosis", 2: "edema", 3: "enhancing", 4: "cavity"},
    "brats_ped": {1: "enhancing", 2: "nonenhancing", 3: "cyst", 4: "edema"},
    "brats_men_rt": {1: "tumor"},
    "msd": {1: "edema", 2: "nonenhancing", 3: "enhancing"},
}
"""The conventions that have a name. Beside them there is ``any``: every number but 0 is tumor."""

_TISSUES_OF = {
    "whole_tumor": frozenset(LABEL_TISSUES) - {"cavity"},
    "tumor_core": frozenset({"necrosis", "nonenhancing", "cyst", "enhancing"}),
    "enhancing": frozenset({"enhancing"}),
}
_CHALLENGE = re.compile(r"BraTS-(?P<name>GLI|PED|MEN-RT|MEN|MET|SSA|GoAT)-", re.IGNORECASE)
_BEFORE_2023 = re.compile(r"BraTS(?:20)?(?:1[789]|2[01])_", re.IGNORECASE)
_TOLD_BY_NAME = {"PED": "brats_ped", "MEN-RT": "brats_men_rt"}
_WITH_CAVITY = ("GLI", "MET")


@dataclass(frozen=True)
class Challenge:
    """A BraTS challenge, or one that shares its naming.

    Attributes:
        name: The challenge and its editions.
        cases: How its cases are called.
        convention: A key of :data:`CONVENTIONS`.
        source: Where the numbers are published.
        numbers: Those that it uses; empty for all of the convention.
    """

    name: str
    cases: str
    convention: str
    source: str
    numbers: tuple[int, ...] = ()


_NO_CAVITY = (1, 2, 3)
CHALLENGES = (
    Challenge(
        "GLI 2017 to 2021", "`Brats18_2013_2_1`, `BraTS2021_00000`", "brats", "arXiv:1811.02629, arXiv:2107.02314"
    ),
    Challenge("GLI 2023", "`BraTS-GLI-00000-000`", "brats2023", "arXiv:2107.02314, with 4 made 3", _NO_CAVITY),
    Challenge("GLI 2024, after treatment", "`BraTS-GLI-00005-100`", "brats2023", "arXiv:2405.18368"),
    Challenge("SSA (Africa) 2023 on", "`BraTS-SSA-00002-000`", "brats2023", "arXiv:2305.19369", _NO_CAVITY),
    Challenge("MEN 2023", "`BraTS-MEN-00004-000`", "brats2023", "arXiv:2305.07642", _NO_CAVITY),
    Challenge("METS 2023 on", "`BraTS-MET-00001-000`", "brats2023", "arXiv:2306.00838; the cavity since 2025"),
    Challenge("PED 2023", "`BraTS-PED-00001-000`", "brats2023", "arXiv:2305.17033", _NO_CAVITY),
    Challenge("PED 2024 on", "`BraTS-PED-00001-000`", "brats_ped", "arXiv:2404.15009"),
    Challenge("MEN-RT 2024", "`BraTS-MEN-RT-0001-1`", "brats_men_rt", "arXiv:2405.18383"),
    Challenge("Medical Segmentation Decathlon, Task01", "`BRATS_001`", "msd", "arXiv:2106.05735"),
)
"""Every challenge's own convention."""


def convention_of(labels: str | Mapping[int, str]) -> LabelConvention:
    """The convention that ``dataset.labels`` declares: a name, or the meaning of each number.

    Args:
        labels: A key of :data:`CONVENTIONS`, ``any``, or one of :data:`LABEL_TISSUES` for each number.

    Returns:
        The name; numbers that are spelled out become a text such as ``1=enhancing 2=cyst``.

    Raises:
        NeuroprintError: There is no such convention or tissue, or a number is not from 1 to 255.

    Example:
        >>> convention_of({4: "edema", 1: "enhancing"})
        '1=enhancing 4=edema'
    """
    if isinstance(labels, str):
        if labels != "any" and labels not in CONVENTIONS:
            _meanings(labels)  # a text that this function has made is as good
        return labels
    if not isinstance(labels, Mapping) or not labels:
        raise _not_understood(labels)
    numbers = {str(number): str(tissue) for number, tissue in labels.items()}
    return _spelled(_checked(numbers, labels))


def convention_by_name(case_id: str, otherwise: LabelConvention) -> LabelConvention:
    """The convention of the challenge that a case's id names, as ``BraTS-PED-00001-000`` and ``Brats18_2013_2_1`` do.

    Args:
        case_id: The id.
        otherwise: Of a case whose id names none.
    """
    match = _CHALLENGE.match(case_id)
    if _BEFORE_2023.match(case_id):
        return "brats"
    return _TOLD_BY_NAME.get(match["name"].upper(), "brats2023") if match else otherwise


def tells_parts(convention: LabelConvention) -> bool:
    """Whether a label tells the parts of a tumor apart."""
    return convention != "any" and "tumor" not in _meanings(convention).values()


def actual_convention(declared: LabelConvention, values: Collection[int]) -> LabelConvention:
    """Return the convention that a label really follows.

    File names tell the convention by the edition of BraTS, but people rename files: a label declared ``brats``
    (1, 2, 4) that holds 3 and no 4 was written by the later convention (1, 2, 3) and is read so.

    Args:
        declared: What the cohort says.
        values: The values found in the label.
    """
    return "brats2023" if declared == "brats" and 3 in values and 4 not in values else declared


def label_doubts(labels: Iterable[tuple[str, LabelConvention, Collection[int]]]) -> dict[str, str]:
    """Doubts about the labels of a cohort that does not declare what they mean: names and values tell it not fully.

    Args:
        labels: Of each case its id, the convention told by its name, and the values found in the label.

    Returns:
        By the first case of each kind of doubt, a line on how the labels are read and what to declare.

    Example:
        >>> label_doubts([("BraTS-PED-00001-000", "brats_ped", {1, 2}), ("BraTS-PED-00002-000", "brats_ped", {4})])
        {}
    """
    kinds: dict[str, list[str]] = {"renumbered": [], "cavity": [], "ped": []}
    ped_of_2024 = False
    for case, convention, values in labels:
        match = _CHALLENGE.match(case)
        if convention == "brats" and actual_convention(convention, values) != convention:
            kinds["renumbered"].append(case)
        if convention == "brats2023" and 4 in values and not (match and match["name"].upper() in _WITH_CAVITY):
            kinds["cavity"].append(case)
        if convention == "brats_ped" and values:
            ped_of_2024 |= 4 in values
            kinds["ped"].append(case)
    if ped_of_2024:
        kinds["ped"] = []
    said = {
        "renumbered": "its label holds 3 and no 4 under names of before 2023: read as 1 necrosis, 2 edema, 3 enhancing "
        "(brats2023)",
        "cavity": "4 in its label is read as a resection cavity (brats2023), which is no tumor; in pediatric cases "
        "(brats_ped) it is edema",
        "ped": "no label of these pediatric cases holds 4: read as those of 2024 (brats_ped: 1 enhancing, 2 non-enhancing, "
        "3 cyst); those of 2023 mean 1 necrosis, 2 edema, 3 enhancing (brats2023)",
    }
    return {
        cases[0]: f"{said[kind]}; declare which in dataset.labels{_more(len(cases) - 1)}"
        for kind, cases in kinds.items()
        if cases
    }


def _more(count: int) -> str:
    return f" (and {count} more cases alike)" if count else ""


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
            f"{file_name} holds both 3 and 4 (found {found}): 4 is enhancing tumor up to 2021, a cavity from 2024 "
            "(brats2023) and edema in pediatric cases (brats_ped); declare which in dataset.labels, or correct the label",
        )
    expected = _meanings(convention)
    if not set(found) <= set(expected):
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
        NeuroprintError: Unknown region, or a part of the tumor is asked for where the label does not tell it.
    """
    check_region(region)
    convention = actual_convention(declared, values)
    if region != "whole_tumor" and not tells_parts(convention):
        raise NeuroprintError(
            f"the region '{region}' needs to know what the label's numbers mean, and this cohort does not say; "
            f"declare dataset.labels as {conventions_that_tell()}, or use the region whole_tumor"
        )
    if convention == "any":
        return frozenset(values) - {0}
    return frozenset(number for number, tissue in _meanings(convention).items() if tissue in _TISSUES_OF[region])


def conventions_that_tell() -> str:
    """The named conventions by which a region can be told, for a message.

    Example:
        >>> conventions_that_tell()
        'brats (1/2/4), brats2023 (1/2/3), brats_ped (1/2/3/4) or msd (1/2/3)'
    """
    shown = [
        f"{name} ({'/'.join(str(number) for number, tissue in numbers.items() if tissue != 'cavity')})"
        for name, numbers in CONVENTIONS.items()
        if tells_parts(name)
    ]
    return f"{', '.join(shown[:-1])} or {shown[-1]}"


def check_region(region: str) -> None:
    """Raise NeuroprintError for a region that does not exist."""
    if region not in REGIONS:
        raise NeuroprintError(f"there is no region '{region}'; the regions are {', '.join(REGIONS)}")


def label_table() -> str:
    """Every challenge's convention as a table in Markdown, as ``docs/datasets.md`` shows it."""
    rows = []
    for row in CHALLENGES:
        numbers = {
            number: what for number, what in CONVENTIONS[row.convention].items() if number in (row.numbers or (number,))
        }
        listed = ", ".join(f"{number} {tissue}" for number, tissue in numbers.items())
        rows.append(f"| {row.name} | {row.cases} | {listed} | `{row.convention}` | {row.source} |")
    return "\n".join(["| challenge | its cases | numbers | `dataset.labels` | source |", "| --- " * 5 + "|", *rows])


def _meanings(convention: LabelConvention) -> Mapping[int, str]:
    """What each number means, of a convention that has a name or is spelled out."""
    if convention in CONVENTIONS:
        return CONVENTIONS[convention]
    pairs = [pair.partition("=") for pair in convention.split()]
    return _checked({number: tissue for number, _, tissue in pairs}, convention)


def _checked(numbers: Mapping[str, str], given: object) -> dict[int, str]:
    sound = numbers and all(n.isdecimal() and 0 < int(n) < 256 and t in LABEL_TISSUES for n, t in numbers.items())
    if not sound:
        raise _not_understood(given)
    return {int(number): numbers[number] for number in sorted(numbers, key=int)}


def _spelled(numbers: Mapping[int, str]) -> str:
    return " ".join(f"{number}={tissue}" for number, tissue in numbers.items())


def _not_understood(given: object) -> NeuroprintError:
    return NeuroprintError(
        f"labels={given}: expected one of any, {', '.join(CONVENTIONS)}, or what each number means, such as "
        f"'{{1: enhancing, 2: cyst, 4: edema}}' (of {', '.join(LABEL_TISSUES)})"
    )
