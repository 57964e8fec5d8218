"""Small cohorts that any test may ask for, on disk and as arrays, and the real one where it lies beside the repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import nibabel as nib
import numpy as np
import pytest
from neuroprint.evaluation.subjects import Subjects

MODALITIES = ("flair", "t1", "t1ce", "t2")
SHAPE = (40, 44, 36)
AFFINE = np.array([[-3.0, 0, 0, 0], [0, -3, 0, 130], [0, 0, 3, 0], [0, 0, 0, 1]])

WriteCohort = Callable[..., Path]


def write_case(folder: Path, seed: int) -> None:
    """An ellipsoid of noise with a bright ball, in BraTS layout; the ball is the tumor."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1.15, 1.15, n) for n in SHAPE), indexing="ij"))
    brain = (grid**2).sum(axis=0) < 1
    center = rng.uniform(-0.55, 0.55, 3)
    apart = np.sqrt(((grid - center[:, None, None, None]) ** 2).sum(axis=0))
    label = np.select([apart < 0.08, apart < 0.15, apart < 0.25], [1, 4, 2], 0) * brain
    folder.mkdir(parents=True)
    for modality in MODALITIES:
        image = (rng.integers(200, 400, SHAPE) + 500 * (label > 0)) * brain
        nib.save(nib.Nifti1Image(image.astype(np.int16), AFFINE), folder / f"{folder.name}_{modality}.nii.gz")
    nib.save(nib.Nifti1Image(label.astype(np.uint8), AFFINE), folder / f"{folder.name}_seg.nii.gz")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """What a test sets in the environment ends with it: MLflow's ``set_registry_uri`` too leaves a variable there."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small cases in BraTS layout. Read only: copy it to change it."""
    root = tmp_path_factory.mktemp("cohort")
    for number in range(10):
        write_case(root / f"Small_{number:05d}", number)
    return root


@pytest.fixture(scope="session")
def real_cohort() -> Path:
    """Ten real BraTS patients; the test skips where they are not at hand."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "brats2021"
    root = Path(os.environ.get("NEUROPRINT_REAL_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no real scans at {root.name}: set NEUROPRINT_REAL_DATA to a folder of BraTS cases")
    return root


@pytest.fixture
def make_subjects() -> Callable[..., Subjects]:
    """Subjects with tumors spread over a brain; every ``visits`` consecutive cases are one patient."""

    def make(n: int, seed: int = 0, visits: int = 1) -> Subjects:
        rng = np.random.default_rng(seed)
        centers = rng.normal(size=(n, 3)) * [30.0, 35.0, 20.0]
        return Subjects(
            ids=tuple(f"case-{number:05d}" for number in range(n)),
            patients=tuple(f"patient-{number // visits:05d}" for number in range(n)),
            centers_mm=centers,
            right=centers[:, 0] > 0,
            metadata={"grade": np.array([["2", "3", "4", ""][number % 4] for number in range(n)], dtype=object)},
        )

    return make
