"""The same image under two patients is found by its bytes, by its voxels however it was stored, and refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neuroprint.data.case import Case
from neuroprint.data.digests import case_digests
from neuroprint.data.duplicates import SharedImage, refuse_shared_images, shared_images
from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.data.measure import measure
from neuroprint.data.volume import Volume, read_volume
from neuroprint.errors import NeuroprintError


@pytest.fixture
def cases(tmp_path: Path, write_case: Callable[..., Path]) -> tuple[Case, ...]:
    """Three patients; the T1 of the second is the T2 of the third, byte for byte."""
    for seed, name in enumerate(("A", "B", "C")):
        write_case(tmp_path / name, seed=seed)
    shutil.copy(tmp_path / "B" / "B_t1.nii.gz", tmp_path / "C" / "C_t2.nii.gz")
    return BraTSFormat(tmp_path).cohort().cases


def hashes(cases: tuple[Case, ...]) -> dict[str, dict[str, str]]:
    return {case.id: dict(case_digests(case).each) for case in cases}


def test_one_image_in_common_is_enough(cases: tuple[Case, ...]) -> None:
    assert shared_images(cases, hashes(cases)) == [SharedImage("B", "C", "B_t1.nii.gz", "C_t2.nii.gz")]
    with pytest.raises(NeuroprintError, match=r"cases B and C .*B_t1.nii.gz and C_t2.nii.gz[\s\S]*duplicates=allow"):
        refuse_shared_images(cases, hashes(cases))


def test_cases_of_one_patient_may_share_images(cases: tuple[Case, ...]) -> None:
    declared = tuple(replace(case, patient="same" if case.id in "BC" else case.id) for case in cases)
    assert shared_images(declared, hashes(declared)) == []
    refuse_shared_images(declared, hashes(declared))


def test_labels_are_not_compared(tmp_path: Path, write_case: Callable[..., Path]) -> None:
    for seed, name in enumerate(("A", "B")):
        write_case(tmp_path / name, seed=seed)
    shutil.copy(tmp_path / "A" / "A_seg.nii.gz", tmp_path / "B" / "B_seg.nii.gz")
    found = BraTSFormat(tmp_path).cohort().cases
    assert shared_images(found, hashes(found)) == []


def contents(images: np.ndarray, affine: np.ndarray) -> dict[str, str]:
    return dict(measure(Volume(images, None, affine, ("flair", "t1")), "brats").contents)


def test_voxels_are_known_again_however_they_are_stored() -> None:
    images = np.zeros((2, 20, 24, 18), np.int16)
    images[:, 3:15, 4:20, 2:16] = np.random.default_rng(0).integers(1, 900, (2, 12, 16, 14))
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    original = contents(images, affine)
    assert original["flair"] != original["t1"]
    assert contents(images.astype(np.float32), affine) == original
    assert contents(np.pad(images, ((0, 0), (5, 1), (0, 3), (2, 2))), affine) == original
    turned = np.diag([-1.0, -1.0, 1.0, 1.0])
    assert contents(images[:, ::-1, ::-1], turned) == original
    swapped = np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert contents(images.transpose(0, 2, 3, 1), swapped) == original
    other = images.copy()
    other[0, 8, 8, 8] += 1
    changed = contents(other, affine)
    assert changed["flair"] != original["flair"] and changed["t1"] == original["t1"]


def test_a_scan_compressed_anew_is_found_once_it_is_read(cases: tuple[Case, ...]) -> None:
    first, second = cases[0], cases[1]
    for modality, file in first.images.items():
        image = nib.load(file.path)
        nib.save(
            nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float32), image.affine), second.images[modality].path
        )
    assert not any({first.id, second.id} == {pair.first, pair.second} for pair in shared_images(cases, hashes(cases)))
    read = {
        case.id: measure(read_volume(case, tuple(case.images)), case.label_convention).contents
        for case in (first, second)
    }
    assert [(pair.first, pair.second) for pair in shared_images(cases, read)] == [("A", "B")]


def test_a_constant_image_in_the_place_of_a_missing_modality_is_no_duplicate(cases: tuple[Case, ...]) -> None:
    zeros = nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    for case in cases:
        nib.save(zeros, case.images["flair"].path)
        nib.save(zeros, case.images["t1ce"].path)
    found = shared_images(cases, hashes(cases))
    assert [(pair.first, pair.second, pair.first_file) for pair in found] == [("B", "C", "B_t1.nii.gz")]
