"""A data set whose names follow a rule, from its files to an answer: what is exported still knows the rule."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SERIES = {"t1": "T1", "t1ce": "T1GD", "t2": "T2", "flair": "FLAIR"}


@pytest.fixture(scope="module")
def data_set(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small cohort as UPENN-GBM is published; its last case in a data set of its own."""
    root = tmp_path_factory.mktemp("upenn")
    for number, case in enumerate(sorted(small_cohort.iterdir())):
        name, top = f"UPENN-GBM-{number:05d}_11", root / ("gallery" if number < 9 else "new")
        images, labels = top / "images_structural" / name, top / "images_segm"
        images.mkdir(parents=True)
        labels.mkdir(exist_ok=True)
        for modality, series in SERIES.items():
            shutil.copy(case / f"{case.name}_{modality}.nii.gz", images / f"{name}_{series}.nii.gz")
        shutil.copy(case / f"{case.name}_seg.nii.gz", labels / f"{name}_segm.nii.gz")
    return root


@pytest.mark.parametrize(
    "rule",
    [
        ("dataset=upenn_gbm",),
        (
            "dataset=pattern",
            "dataset.images={flair: '**/{patient}_11/{case}_FLAIR.nii*', t1: '**/{patient}_11/{case}_T1.nii*'}",
            "dataset.label='**/{case}_segm.nii*'",
        ),
    ],
    ids=["preset", "own"],
)
def test_it_is_swept_exported_and_asked_about_a_case_by_its_path(
    rule: tuple[str, ...], data_set: Path, new_project: Callable[[], Any]
) -> None:
    made, root = new_project(), f"dataset.root={data_set / 'gallery'}"
    done = made.run("-m", *rule, root, "encoder=voxels", "similarity=cosine,dot", "folds=3", "task.radius_mm=60")
    assert done.returncode == 0, done.stderr
    done = made.cli("export", "index", "--run", made.finished()[0].info.run_id, "--anyway", "--set", root)
    assert done.returncode == 0, done.stderr
    asked = data_set / "new" / "images_structural" / "UPENN-GBM-00009_11"
    done = made.cli("query", "index", str(asked), "-k", "3", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["query"] == "UPENN-GBM-00009_11" and len(answer["neighbours"]) == 3
