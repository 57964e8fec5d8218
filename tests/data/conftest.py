"""Tiny cohorts on disk, and the real one where it lies beside the repository."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from neuroprint.data.case import Case, ImageFile

SHAPE = (12, 14, 10)
LPS = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
UNDERSCORE = ("flair", "t1ce", "t1", "t2")
DASH = ("t2f", "t1c", "t1n", "t2w")


def _image(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A brain of random positive values inside a margin of two voxels of zero."""
    image = np.zeros(shape, np.int16)
    inside = tuple(slice(2, n - 2) for n in shape[:3])
    image[inside] = np.random.default_rng(seed).integers(1, 500, image[inside].shape)
    return image


def _label(values: tuple[int, ...]) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    for step, value in enumerate(values):
        label[3 + step, 4:7, 3:6] = value
    return label


WriteImage = Callable[..., Path]


@pytest.fixture
def write_image() -> WriteImage:
    """Write an array as NIfTI: ``write_image(path, array, affine=LPS)``."""

    def write(path: Path, array: np.ndarray, affine: np.ndarray = LPS) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    return write


@pytest.fixture
def write_case(write_image: WriteImage) -> Callable[..., Path]:
    """Write a BraTS case: ``write_case(folder, dash=False, values=(1, 2, 4), seed=0, suffix='.nii.gz')``."""

    def write(
        folder: Path,
        dash: bool = False,
        values: tuple[int, ...] | None = (1, 2, 4),
        seed: int = 0,
        suffix: str = ".nii.gz",
    ) -> Path:
        joint = "-" if dash else "_"
        for channel, name in enumerate(DASH if dash else UNDERSCORE):
            write_image(folder / f"{folder.name}{joint}{name}{suffix}", _image(10 * seed + channel))
        if values is not None:
            write_image(folder / f"{folder.name}{joint}seg{suffix}", _label(values))
        return folder

    return write


@pytest.fixture
def case_of(write_image: WriteImage, tmp_path: Path) -> Callable[..., Case]:
    """A case of given arrays: ``case_of({'flair': array}, label=array, affine=LPS, convention='brats')``."""

    def make(
        images: dict[str, np.ndarray],
        label: np.ndarray | None = None,
        affine: np.ndarray = LPS,
        convention: str = "brats",
        case_id: str = "case1",
    ) -> Case:
        folder = tmp_path / case_id
        files = {m: ImageFile(write_image(folder / f"{case_id}_{m}.nii.gz", a, affine)) for m, a in images.items()}
        seg = None if label is None else ImageFile(write_image(folder / f"{case_id}_seg.nii.gz", label, affine))
        return Case(case_id, case_id, files, seg, convention)  # type: ignore[arg-type]

    return make


@pytest.fixture
def brain() -> Callable[..., np.ndarray]:
    """``brain(seed, shape)``: random positive int16 inside a margin of zeros."""

    def make(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
        return _image(seed, shape)

    return make


@pytest.fixture
def tumor() -> Callable[..., np.ndarray]:
    """``tumor(values)``: one slab of voxels per value."""

    def make(*values: int) -> np.ndarray:
        return _label(values)

    return make


@pytest.fixture(scope="session")
def real_root() -> Path:
    """The folder of real patients, else skip."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data" / "brats2021"
    root = Path(os.environ.get("NEUROPRINT_REAL_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real patients at {root}; set NEUROPRINT_REAL_DATA")
    return root
