"""The same image under two patients: found by content, and refused, since each would answer the other's query."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from neuroprint.data.nifti import open_nifti
from neuroprint.errors import CaseError, NeuroprintError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from neuroprint.data.case import Case


@dataclass(frozen=True)
class SharedImage:
    """One image that two patients' cases have in common.

    Attributes:
        first, second: The cases, by id.
        first_file, second_file: The image's file in each.
    """

    first: str
    second: str
    first_file: str
    second_file: str


def shared_images(cases: Sequence[Case], contents: Mapping[str, Mapping[str, str]]) -> list[SharedImage]:
    """Pairs of cases of different patients that have an image in common, in the order of their ids; one image a pair.

    Labels are not compared: two that are empty are alike. Images of one patient are harmless, since cases of one
    patient are never on both sides of a fold. Nor is an image that is constant, such as zeros in the place of a modality
    that was not acquired: it tells nothing of a patient.

    Args:
        cases: The cases.
        contents: A hash of each image's content by modality, by case id. A case that is not in it is not compared.
    """
    holders: dict[str, list[tuple[Case, str]]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        for modality, content in sorted(contents.get(case.id, {}).items()):
            holders.setdefault(content, []).append((case, modality))
    found: dict[tuple[str, str], SharedImage] = {}
    for same in holders.values():
        if len({case.patient for case, _ in same}) < 2 or _is_constant(*same[0]):
            continue
        for (first, one), (second, other) in combinations(same, 2):
            if first.patient != second.patient:
                files = first.images[one].path.name, second.images[other].path.name
                found.setdefault((first.id, second.id), SharedImage(first.id, second.id, *files))
    return [found[pair] for pair in sorted(found)]


def refuse_shared_images(cases: Sequence[Case], contents: Mapping[str, Mapping[str, str]]) -> None:
    """Stop where two patients have an image in common.

    Args:
        cases: The cases.
        contents: As :func:`shared_images` takes them.

    Raises:
        NeuroprintError: Names the first two cases, the file, and what to do.
    """
    shared = shared_images(cases, contents)
    if not shared:
        return
    first = shared[0]
    more = f" (and {len(shared) - 1} more such pairs)" if len(shared) > 1 else ""
    raise NeuroprintError(
        f"cases {first.first} and {first.second} are of two patients but hold the same image ({first.first_file} and "
        f"{first.second_file}){more}: each would be the other's answer.\nRemove one of the two, or say in a manifest's "
        "column patient that they are one patient; dataset.duplicates=allow scores them all the same"
    )


def _is_constant(case: Case, modality: str) -> bool:
    """Whether all voxels of an image are alike. One that cannot be read is not: what is wrong with it is said elsewhere."""
    image = case.images[modality]
    frame = image.channel or 0
    try:
        with open_nifti(case.id, image.path) as file:
            voxels = np.empty(file.shape[::-1], file.voxel_dtype)
            file.read_frames({frame: voxels})
    except CaseError:
        return False
    return bool(voxels.min() == voxels.max())
