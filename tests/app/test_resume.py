"""What is reused, what is not, and what belongs to whom."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def shared(new_project):
    """One project for all tests of this file: a run that one leaves is there for the next, as in life."""
    return new_project()


def command(cohort, *more):
    where = ("dataset=brats", f"dataset.root={cohort}", "retrieval.radius_mm=30", "encoder=voxels")
    return [*where, *(more or ("figures=false",))]


def finished(project, role="candidate"):
    found = [run for run in project.runs() if run.data.tags.get("role") == role]
    return [run for run in found if run.info.status == "FINISHED"]


def artifact(run, path):
    return Path(unquote(urlparse(run.info.artifact_uri).path)) / path


def test_a_run_without_figures_is_repeated_for_them_and_then_serves_both(shared, small_cohort):
    assert shared.run(*command(small_cohort)).returncode == 0
    assert "nothing computed again" in shared.run(*command(small_cohort)).stderr
    assert shared.run(*command(small_cohort, "figures=true")).returncode == 0
    assert len(finished(shared)) == 2
    assert artifact(finished(shared)[0], "plots/map.html").is_file()
    assert "nothing computed again" in shared.run(*command(small_cohort)).stderr


def test_a_sweep_lists_an_earlier_single_run_under_its_parent(shared, small_cohort):
    outcome = shared.run("-m", "pooling=mean,max", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.count("nothing computed again") == 1
    (parent,) = finished(shared, "sweep")
    board = pd.read_csv(artifact(parent, "leaderboard.csv"))
    listed = [run for run in shared.runs() if run.info.run_id in set(board["run_id"])]
    assert len(listed) == 5
    assert {run.data.tags["mlflow.parentRunId"] for run in listed} == {parent.info.run_id}


def test_deleted_reference_rows_come_back(shared, small_cohort):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{shared.folder / 'mlruns' / 'mlflow.db'}")
    for run in finished(shared, "reference"):
        if run.data.tags["reference"] == "voxels":
            client.delete_run(run.info.run_id)
    refused = shared.cli("leaderboard")
    assert refused.returncode == 2 and "voxels" in refused.stderr
    outcome = shared.run("-m", "pooling=mean,max", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.count("nothing computed again") == 2
    assert shared.cli("leaderboard").returncode == 0


def test_a_sweep_that_is_run_anew_scores_duplicates_once(shared, small_cohort):
    before = len(finished(shared))
    outcome = shared.run("-m", "components=4,8", "resume=false", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    assert len(finished(shared)) == before + 1


def test_rows_that_differ_have_names_that_differ(shared, small_cohort):
    outcome = shared.run("-m", "retrieval.similarity=cosine,dot", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    assert "similarity dot" in outcome.stdout


def test_a_sweep_in_which_nothing_can_be_ranked_still_ends_well(shared, small_cohort):
    arguments = [*command(small_cohort), "retrieval.radius_mm=0.01"]
    outcome = shared.run("-m", "pooling=mean,max", *[a for a in arguments if a != "retrieval.radius_mm=30"])
    assert outcome.returncode == 0, outcome.stderr
    assert "not defined" in outcome.stderr
    newest = next(run for run in finished(shared) if "retrieval/p_at_5" in run.data.tags.get("undefined", ""))
    assert "retrieval/p_at_5" not in newest.data.metrics and "probe/r2" in newest.data.metrics


def test_no_folder_of_this_machine_reaches_mlflow(shared):
    for run in shared.runs():
        for text in (*run.data.params.values(), *run.data.tags.values()):
            assert str(shared.folder) not in text
        config = artifact(run, "config.yaml")
        if config.is_file():
            assert str(shared.folder.parent) not in config.read_text()


def test_a_working_folder_of_any_name_will_do(tmp_path, new_project, small_cohort):
    project = new_project()
    project.folder = tmp_path / "E o'b=r, x"
    project.folder.mkdir()
    outcome = project.run("-m", "pooling=mean,max", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr


def test_a_job_that_fails_is_listed_with_its_reason_and_the_rest_is_ranked(new_project, small_cohort):
    project = new_project()
    arguments = command(small_cohort, "figures=false", "components=4")
    wrong = "projection._target_=sklearn.decomposition.PCA,sklearn.decomposition.NMF"
    outcome = project.run("-m", "projection=pca", "+projection.init=random", wrong, *arguments)
    assert outcome.returncode == 2 and "Traceback" not in outcome.stderr
    outcome = project.run("-m", "projection=random", "projection.random_state=0,nothing", *arguments)
    assert outcome.returncode == 1, outcome.stderr
    assert "1 of 2 jobs" in outcome.stderr and "random_state" in outcome.stderr
    assert "oracle" in outcome.stdout
    statuses = sorted(run.info.status for run in project.runs() if run.data.tags.get("role") == "candidate")
    assert statuses == ["FAILED", "FINISHED"]
    (parent,) = [run for run in project.runs() if run.data.tags.get("role") == "sweep"]
    assert parent.info.status == "FAILED"


def test_relevance_by_metadata_needs_no_label(new_project, small_cohort):
    project = new_project()
    rows = []
    for number, folder in enumerate(sorted(small_cohort.iterdir())):
        label = "" if number < 3 else str(folder / f"{folder.name}_seg.nii.gz")
        rows.append(
            {"id": folder.name, "flair": folder / f"{folder.name}_flair.nii.gz", "label": label, "grade": number % 2}
        )
    pd.DataFrame(rows).to_csv(project.folder / "cohort.csv", index=False)
    manifest = ["dataset=manifest", "dataset.root=cohort.csv", "encoder=voxels", "retrieval=metadata"]
    # Supervised, and drawn: only cases with a center can be fitted to, and all are shown.
    outcome = project.run(*manifest, "retrieval.column=grade", "projection=ridge")
    assert outcome.returncode == 0, outcome.stderr
    (run,) = finished(project)
    assert run.data.metrics["cohort/cases"] == 10
    assert artifact(run, "plots/retrieval.png").is_file()
    wrong = project.run(*manifest, "retrieval.column=grad")
    assert wrong.returncode == 2 and "grade" in wrong.stderr


def test_the_holdout_is_extracted_and_takes_no_other_part(new_project, small_cohort):
    project = new_project()
    outcome = project.run(*command(small_cohort, "figures=true", "holdout=0.3", "folds=3"))
    assert outcome.returncode == 0, outcome.stderr
    (run,) = finished(project)
    kept = set(pd.read_parquet(artifact(run, "queries.parquet"))["case"])
    held = {folder.name for folder in small_cohort.iterdir()} - kept
    assert held and run.data.metrics["extract/forwards"] == 10
    for found in (*finished(project), *finished(project, "reference")):
        for file in artifact(found, "").rglob("*"):
            if file.suffix in (".html", ".yaml", ".csv"):
                assert not [case for case in held if case in file.read_text()]
        queries = pd.read_parquet(artifact(found, "queries.parquet"))
        assert not held & {case for row in queries["neighbors"] for case in row}


def test_a_cohort_copied_elsewhere_is_the_same_cohort(shared, small_cohort):
    shutil.copytree(small_cohort, shared.folder / "copy")
    outcome = shared.run(*command(shared.folder / "copy"))
    assert "nothing computed again" in outcome.stderr
