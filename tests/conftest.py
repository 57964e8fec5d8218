"""Small cohorts that any test may ask for, on disk and as arrays, and the real one where it lies beside the repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import nibabel as nib
import numpy as np
import pytest

from neuroprint.evaluation.question import Question
from neuroprint.evaluation.ranked import Judged
from neuroprint.evaluation.regression import POSITION_METRICS
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

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


@pytest.fixture(scope="session")
def make_question() -> Callable[..., Question]:
    """What ``task=tumor_position`` asks of tumors spread over a brain; every ``visits`` consecutive cases are one patient."""

    def make(
        n: int, seed: int = 0, visits: int = 1, *, radius_mm: float = 20.0, centers_mm: np.ndarray | None = None
    ) -> Question:
        drawn = np.random.default_rng(seed).normal(size=(n, 3)) * [30.0, 35.0, 20.0]
        centers = drawn if centers_mm is None else np.asarray(centers_mm, dtype=np.float64)

        def distance(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
            return np.linalg.norm(centers[queries][:, None] - centers[gallery], axis=2)

        def judge(queries: np.ndarray, gallery: np.ndarray) -> Judged:
            apart = distance(queries, gallery)
            return Judged(apart <= radius_mm, np.maximum(0.0, 1.0 - apart / (2 * radius_mm)), {"distance_mm": apart})

        return Question(
            ids=tuple(f"case-{number:05d}" for number in range(n)),
            patients=tuple(f"patient-{number // visits:05d}" for number in range(n)),
            targets=centers,
            target_names=("x_mm", "y_mm", "z_mm"),
            judge=judge,
            metrics=(*RETRIEVAL_METRICS, *POSITION_METRICS),
            ideal=lambda queries, gallery: -distance(queries, gallery),
            columns={"right": centers[:, 0] > 0},
        )

    return make
