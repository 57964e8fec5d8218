"""A BIDS data set from its files to an answer: swept, exported, and asked about a case by its path."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

SERIES = {"t1": "T1w", "t1ce": "ce-gadolinium_T1w", "t2": "T2w", "flair": "FLAIR"}


def session_of(number: int) -> tuple[str, str]:
    """Subject and session of a small case: the first four are two patients seen twice."""
    subject = f"{number // 2:02d}" if number < 4 else f"{number:02d}"
    return f"sub-{subject}", f"ses-{number % 2 + 1}" if number < 4 else "ses-1"


@pytest.fixture(scope="module")
def data_set(small_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small cohort as BIDS, the label below derivatives; its last case in a data set of its own."""
    root = tmp_path_factory.mktemp("bids")
    for number, case in enumerate(sorted(small_cohort.iterdir())):
        subject, session = session_of(number)
        top = root / ("gallery" if number < 9 else "new")
        anat = top / subject / session / "anat"
        raters = top / "derivatives" / "raters" / subject / session / "anat"
        anat.mkdir(parents=True)
        raters.mkdir(parents=True)
        for modality, suffix in SERIES.items():
            shutil.copy(case / f"{case.name}_{modality}.nii.gz", anat / f"{subject}_{session}_{suffix}.nii.gz")
        shutil.copy(case / f"{case.name}_seg.nii.gz", raters / f"{subject}_{session}_dseg.nii.gz")
    grades = [f"{session_of(n)[0]}\t{('II', 'IV')[n % 3 == 0]}\n" for n in (0, 2, *range(4, 9))]
    (root / "gallery" / "participants.tsv").write_text("participant_id\tgrade\n" + "".join(grades))
    return root


@pytest.fixture(scope="module")
def exported(data_set: Path, new_project: Callable[[], Any]) -> Any:
    """A project in which a sweep over the data set was run and exported."""
    made = new_project()
    sweep = ("-m", "dataset=bids", f"dataset.root={data_set / 'gallery'}", "dataset.labels=brats", "encoder=voxels")
    done = made.run(*sweep, "similarity=cosine,dot", "folds=3", "task.radius_mm=60")
    assert done.returncode == 0, done.stderr
    chosen = ("--run", made.finished()[0].info.run_id, "--set", f"dataset.root={data_set / 'gallery'}")
    done = made.cli("export", "index", *chosen, "--anyway")
    assert done.returncode == 0, done.stderr
    return made


def test_sessions_of_a_patient_are_cases_of_one_fold(exported: Any, artifact: Callable[..., Path]) -> None:
    runs = exported.finished()
    assert [run.data.tags["cohort/cases"] for run in runs] == ["9", "9"]
    folds = pd.read_parquet(artifact(runs[0], "queries.parquet")).set_index("case")["fold"]
    assert folds["sub-00_ses-1"] == folds["sub-00_ses-2"]
    assert folds["sub-01_ses-1"] == folds["sub-01_ses-2"]
    assert folds.nunique() == 3


@pytest.mark.parametrize(
    "place", ["new/sub-09/ses-1", "new/sub-09/ses-1/anat/sub-09_ses-1_FLAIR.nii.gz", "gallery/sub-01/ses-2"]
)
def test_a_case_is_asked_about_by_its_path(exported: Any, data_set: Path, place: str) -> None:
    done = exported.cli("query", "index", str(data_set / place), "-k", "3", "--group", "grade", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    found = [match["case"] for match in answer["neighbours"]]
    assert answer["query"] == "_".join(Path(place).parts[1:3])
    assert len(found) == 3
    assert all(
        match["distance_mm"] is not None for match in answer["neighbours"]
    )  # the label came from the derivatives
    assert (found[0] == "sub-01_ses-2") == place.startswith("gallery")


def test_the_doctor_reads_the_data_set(exported: Any, data_set: Path) -> None:
    done = exported.cli("check", str(data_set / "gallery"))
    assert (done.returncode, done.stdout) == (0, "9 cases: 9 usable, 0 unusable\n")


def test_a_case_is_added_by_its_path(exported: Any, data_set: Path) -> None:
    shutil.copytree(exported.folder / "index", exported.folder / "grown")
    done = exported.cli("add", "grown", str(data_set / "new" / "sub-09" / "ses-1"))
    assert done.returncode == 0, done.stderr
    done = exported.cli("query", "grown", str(data_set / "new" / "sub-09" / "ses-1"), "--json", "-k", "1")
    assert json.loads(done.stdout)["neighbours"][0]["case"] == "sub-09_ses-1"


def test_a_case_in_another_layout_than_the_gallerys_is_read_too(exported: Any, small_cohort: Path) -> None:
    done = exported.cli("query", "index", str(small_cohort / "Small_00003"), "--json", "-k", "1")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["query"], answer["neighbours"][0]["case"]) == ("Small_00003", "sub-01_ses-2")
