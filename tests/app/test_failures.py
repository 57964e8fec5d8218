"""A sweep of which a part fails ends whole: what failed is listed, the rest is ranked, and nothing is left RUNNING."""

from __future__ import annotations

import pandas as pd
import pytest


def command(cohort, *more):
    where = ("dataset=brats", f"dataset.root={cohort}", "task.radius_mm=30", "encoder=voxels")
    return ["-m", *where, "figures=false", "projection=random", "components=4", *more]


@pytest.fixture(scope="module")
def torn(new_project, small_cohort):
    """Six jobs, of which the two with an impossible random state fail once their scans have been read."""
    project = new_project()
    states = "projection.random_state=0,1,nothing"
    project.outcome = project.run(*command(small_cohort, states, "pooling=mean,max"))
    return project


def test_it_exits_with_1_and_a_table_of_what_failed_and_why(torn):
    assert torn.outcome.returncode == 1, torn.outcome.stderr
    table = torn.outcome.stderr[torn.outcome.stderr.index("2 of 6 jobs have no finished run") :]
    for pooling in ("mean", "max"):
        assert f"voxels · {pooling} · random4" in table
    assert "random_state" in table and "nothing" in table
    assert "Traceback" not in table


def test_the_rest_is_ranked_printed_and_logged(torn, artifact):
    assert "oracle" in torn.outcome.stdout and "neuroprint ui" in torn.outcome.stdout
    (parent,) = torn.runs("sweep")
    board = pd.read_csv(artifact(parent, "leaderboard.csv"))
    assert sorted(board["role"]) == ["candidate"] * 4 + ["reference"] * 3
    assert artifact(parent, "plots/leaderboard.png").is_file() and artifact(parent, "plots/heatmap.png").is_file()


def test_the_parent_is_failed_and_says_what_is_missing_and_what_was_found(torn):
    (parent,) = torn.runs("sweep")
    assert parent.info.status == "FAILED"
    assert not [run for run in torn.runs() if run.info.status == "RUNNING"]
    text = parent.data.tags["mlflow.note.content"]
    assert "python run.py -m dataset=brats" in text and str(torn.folder) not in text
    assert "10 cases of 10 patients" in text
    assert "**2 jobs have no finished run**" in text and "| ★ |" in text
    assert "neuroprint export OUT --run" in text


def test_runs_say_which_encoder_which_cohort_which_code_and_whether_they_can_be_exported(torn):
    (parent,) = torn.runs("sweep")
    scored = [run for run in torn.runs() if run.info.status == "FINISHED"]
    assert {run.data.tags["cohort"] for run in (parent, *scored)} == {parent.data.tags["cohort"]}
    assert {run.data.tags["encoder"] for run in scored} == {"voxels", "oracle", "chance"}
    assert all("version" in run.data.tags and run.data.tags["exportable"] in ("true", "false") for run in scored)


def test_a_misspelt_sweep_leaves_no_run_behind(torn, small_cohort):
    before = {run.info.run_id: run.info.status for run in torn.runs()}
    for wrong in (["pooling=mean,maxx"], ["poolng=mean,max"], ["layer=0,9"], ["folds=5,1"], ["dataset.root=a,b"]):
        outcome = torn.run(*command(small_cohort, *wrong))
        assert outcome.returncode == 2, outcome.stderr
        assert "Traceback" not in outcome.stderr
    assert {run.info.run_id: run.info.status for run in torn.runs()} == before
