"""What is reused, what is not, and what belongs to whom."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest


@pytest.fixture(scope="module")
def shared(new_project):
    """One project for all tests of this file: a run that one leaves is there for the next, as in life."""
    return new_project()


def command(cohort, *more):
    where = ("dataset=brats", f"dataset.root={cohort}", "task.radius_mm=30", "encoder=voxels")
    return [*where, *(more or ("figures=false",))]


def test_a_run_without_figures_is_repeated_for_them_and_then_serves_both(shared, small_cohort, artifact):
    assert shared.run(*command(small_cohort)).returncode == 0
    assert "nothing computed again" in shared.run(*command(small_cohort)).stderr
    assert shared.run(*command(small_cohort, "figures=true")).returncode == 0
    assert len(shared.finished()) == 2
    assert artifact(shared.finished()[0], "plots/map.html").is_file()
    other_map = shared.run(*command(small_cohort, "figures=true", "map=pca"))
    assert "nothing computed again" in other_map.stderr, "how the map is drawn is no part of what is scored"


def test_a_sweep_lists_an_earlier_single_run_under_its_parent(shared, small_cohort, artifact):
    outcome = shared.run("-m", "pooling=mean,max", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.count("nothing computed again") == 1
    (parent,) = shared.finished("sweep")
    board = pd.read_csv(artifact(parent, "leaderboard.csv"))
    listed = [run for run in shared.runs() if run.info.run_id in set(board["run_id"])]
    assert len(listed) == 5
    assert {run.data.tags["mlflow.parentRunId"] for run in listed} == {parent.info.run_id}


def test_deleted_reference_rows_come_back(shared, small_cohort):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{shared.folder / 'mlruns' / 'mlflow.db'}")
    for run in shared.finished("reference"):
        if run.data.tags["reference"] == "voxels":
            client.delete_run(run.info.run_id)
    refused = shared.cli("leaderboard")
    assert refused.returncode == 2 and "voxels" in refused.stderr
    outcome = shared.run("-m", "pooling=mean,max", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.count("nothing computed again") == 2
    assert shared.cli("leaderboard").returncode == 0


def test_a_sweep_that_is_run_anew_scores_duplicates_once(shared, small_cohort):
    before = len(shared.finished())
    outcome = shared.run("-m", "components=4,8", "resume=false", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    assert len(shared.finished()) == before + 1


def test_rows_that_differ_have_names_that_differ(shared, small_cohort):
    outcome = shared.run("-m", "similarity=cosine,dot", *command(small_cohort))
    assert outcome.returncode == 0, outcome.stderr
    names = [run.info.run_name for run in shared.finished()]
    assert {"voxels · mean · similarity cosine", "voxels · mean · similarity dot"} <= set(names)


def test_a_sweep_in_which_nothing_can_be_ranked_still_ends_well(shared, small_cohort):
    arguments = [*command(small_cohort), "task.radius_mm=0.01"]
    outcome = shared.run("-m", "pooling=mean,max", *[a for a in arguments if a != "task.radius_mm=30"])
    assert outcome.returncode == 0, outcome.stderr
    assert "not defined" in outcome.stderr
    newest = next(run for run in shared.finished() if "retrieval/p_at_5" in run.data.tags.get("undefined", ""))
    assert "retrieval/p_at_5" not in newest.data.metrics and "probe/r2" in newest.data.metrics


def test_no_folder_of_this_machine_reaches_mlflow(shared, artifact):
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


def test_relevance_by_metadata_needs_no_label(new_project, small_cohort, artifact):
    project = new_project()
    rows = []
    for number, folder in enumerate(sorted(small_cohort.iterdir())):
        label = "" if number < 3 else str(folder / f"{folder.name}_seg.nii.gz")
        rows.append(
            {"id": folder.name, "flair": folder / f"{folder.name}_flair.nii.gz", "label": label, "grade": number % 2}
        )
    pd.DataFrame(rows).to_csv(project.folder / "cohort.csv", index=False)
    manifest = ["dataset=manifest", "dataset.root=cohort.csv", "encoder=voxels", "task=metadata"]
    # The projection is fitted to the grade, and all cases are shown.
    outcome = project.run(*manifest, "task.column=grade", "projection=ridge")
    assert outcome.returncode == 0, outcome.stderr
    (run,) = project.finished()
    assert run.data.tags["cohort/cases"] == "10"
    assert artifact(run, "plots/retrieval.png").is_file()
    wrong = project.run(*manifest, "task.column=grad")
    assert wrong.returncode == 2 and "grade" in wrong.stderr


def test_the_holdout_is_extracted_and_takes_no_other_part(new_project, small_cohort, artifact):
    project = new_project()
    outcome = project.run(*command(small_cohort, "figures=true", "holdout=0.3", "folds=3"))
    assert outcome.returncode == 0, outcome.stderr
    (run,) = project.finished()
    kept = set(pd.read_parquet(artifact(run, "queries.parquet"))["case"])
    held = {folder.name for folder in small_cohort.iterdir()} - kept
    assert held and run.data.tags["extract/forwards"] == "10"
    for found in (*project.finished(), *project.finished("reference")):
        for file in artifact(found, "").rglob("*"):
            if file.suffix in (".html", ".yaml", ".csv"):
                assert not [case for case in held if case in file.read_text()]
        queries = pd.read_parquet(artifact(found, "queries.parquet"))
        assert not held & {case for row in queries["neighbors"] for case in row}


def test_a_cohort_copied_elsewhere_is_the_same_cohort(shared, small_cohort):
    shutil.copytree(small_cohort, shared.folder / "copy")
    outcome = shared.run(*command(shared.folder / "copy"))
    assert "nothing computed again" in outcome.stderr
