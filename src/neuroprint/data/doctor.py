"""The dataset doctor: read every case in full and say what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from neuroprint.data.digests import case_digests
from neuroprint.data.duplicates import shared_images
from neuroprint.data.files import NIFTI
from neuroprint.data.labels import label_doubts
from neuroprint.data.patients import patients_in_doubt
from neuroprint.data.volume import read_volume
from neuroprint.errors import CaseError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from neuroprint.data.case import Case, LabelConvention
    from neuroprint.data.cohort import Cohort
    from neuroprint.data.volume import Volume


@dataclass(frozen=True)
class Problem:
    """One finding about one case, in one line."""

    case: str
    severity: Literal["unusable", "warning"]
    message: str


def check_cohort(
    cohort: Cohort, modalities: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """Read every case in full and list what keeps it, or may keep it, from being used well.

    Args:
        cohort: The cohort.
        modalities: What will be read of each case.
        progress: Called with the cases done and the cases in all, after each case.

    Returns:
        Problems sorted by case, ``unusable`` before ``warning``: cases excluded on finding or unreadable; and as
        warnings no label, an empty label, a label whose numbers may mean something else, headers that do not say where the
        scan lies, one image as two modalities, images that are byte for byte another case's, one such image that is another
        patient's, names that may be sessions of one patient, and metadata that other cases have. An empty list means that
        all is well.
    """
    problems = [Problem(case_id, "unusable", one_line(reason)) for case_id, reason in cohort.excluded.items()]
    problems += [Problem(case, "warning", message) for case, message in patients_in_doubt(cohort.cases).items()]
    used = {file.path for case in cohort.cases for file in case.files().values()}
    labels: list[tuple[str, LabelConvention, set[int]]] = []
    columns = list(dict.fromkeys(column for case in cohort.cases for column in case.metadata))
    by_content: dict[str, list[str]] = {}
    hashes: dict[str, dict[str, str]] = {}
    for done, case in enumerate(cohort.cases, start=1):
        try:
            volume = read_volume(case, modalities)
            messages = [*volume.doubts, *_warnings(case, volume, columns, used)]
            problems += [Problem(case.id, "warning", one_line(message)) for message in messages]
            if volume.label is not None:
                labels.append((case.id, case.label_convention, {int(value) for value in np.unique(volume.label)} - {0}))
            found = case_digests(case)
            by_content.setdefault(found.images, []).append(case.id)
            hashes[case.id] = dict(found.each)
        except CaseError as error:
            problems.append(Problem(case.id, "unusable", error.problem))
        if progress:
            progress(done, len(cohort.cases))
    problems += [Problem(case, "warning", message) for case, message in label_doubts(labels).items()]
    for ids in by_content.values():
        problems += [
            Problem(second, "warning", f"its images are byte for byte those of case {first}; remove one of the two")
            for first, second in combinations(ids, 2)
        ]
    whole = {frozenset(pair) for ids in by_content.values() for pair in combinations(ids, 2)}
    for pair in shared_images(cohort.cases, hashes):
        if frozenset((pair.first, pair.second)) not in whole:
            message = f"its {pair.second_file} is byte for byte {pair.first_file} of case {pair.first}, another patient"
            problems.append(Problem(pair.second, "warning", f"{message}; a run refuses them: correct the file"))
    return sorted(problems, key=lambda problem: (problem.case, problem.severity))


def _warnings(case: Case, volume: Volume, columns: Sequence[str], used: Collection[Path]) -> list[str]:
    found = []
    if case.label is None:
        beside = _unused_beside(case, used)
        if beside:
            found.append(
                f"it has no label, but {' and '.join(beside)} beside its images is not used: if that is the label, rename it "
                "as the others are"
            )
        else:
            found.append("it has no label: it serves as a gallery case, but has no tumor position; add the label file")
    elif volume.label is not None and not volume.label.any():
        found.append(f"the label {case.label.path.name} is empty: the case has no tumor position; check the label")
    missing = [column for column in columns if column not in case.metadata]
    if missing:
        found.append(f"no value for {', '.join(missing)}, which other cases have; fill it in where it is needed")
    return found


def _unused_beside(case: Case, used: Collection[Path], most: int = 3) -> list[str]:
    """NIfTI files that no case uses, in the folder of a case's images; none where that holds other cases' too."""
    (folder, *others) = {image.path.parent for image in case.images.values()}
    if others:
        return []
    here = [path for path in sorted(folder.iterdir()) if path.name.endswith(NIFTI) and not path.name.startswith(".")]
    if any(path in used and path not in {file.path for file in case.files().values()} for path in here):
        return []
    return [path.name for path in here if path not in used][:most]
