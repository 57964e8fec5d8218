"""What a cohort does not allow is clipped with a warning; what cannot be exported says so; the published recipe runs."""

from __future__ import annotations

import pytest

VOXELS = ("encoder=voxels", "task.radius_mm=30")


@pytest.fixture(scope="module")
def clipped(new_project, small_cohort):
    project = new_project()
    where = ("dataset=brats", f"dataset.root={small_cohort}")
    project.outcome = project.run("-m", "projection=pca,tsne", "components=500", "perplexity=50", *VOXELS, *where)
    return project


def test_components_and_perplexity_above_the_cohort_are_clipped_with_a_warning(clipped):
    assert clipped.outcome.returncode == 0, clipped.outcome.stderr
    said = clipped.outcome.stderr
    assert "components=500" in said and "clipped to 8" in said
    assert said.count("perplexity=50 is not below 10 cases: clipped to 3") == 1


def test_a_map_that_cannot_place_a_new_case_is_scored_and_marked_not_exportable(clipped):
    by_projection = {run.data.params["projection"]: run for run in clipped.finished()}
    tsne, pca = by_projection["tsne"], by_projection["pca"]
    assert tsne.data.tags["exportable"] == "false" and pca.data.tags["exportable"] == "true"
    assert "not exportable" in tsne.info.run_name and "not exportable" not in pca.info.run_name
    assert tsne.data.params["exportable"] == "False" and "exportable" not in pca.data.params
    assert tsne.data.tags["cohort/cases"] == pca.data.tags["cohort/cases"] == "10"
    references = clipped.finished("reference")
    assert references and {run.data.tags["exportable"] for run in references} == {"false"}


@pytest.mark.slow
def test_the_published_recipe_runs_and_stands_in_a_leaderboard_with_the_others(project, small_cohort):
    where = ("dataset=brats", f"dataset.root={small_cohort}", "task.radius_mm=30")
    network = ("encoder=untrained", "encoder.feature_size=12", "inferer.window=64")
    outcome = project.run("-m", "experiment=seed_article", *network, *where)
    assert outcome.returncode == 0, outcome.stderr
    assert "perplexity=50 is not below 10 cases" in outcome.stderr
    by_weighting = {run.data.params["weighting"]: run for run in project.finished()}
    assert set(by_weighting) == {"label", "binary"}
    assert sum(int(run.data.tags["extract/forwards"]) for run in by_weighting.values()) == 10
    assert {run.data.params["similarity"] for run in by_weighting.values()} == {"dot"}
    other = project.run("encoder=voxels", "figures=false", *where)
    assert other.returncode == 0, other.stderr
    groups = {run.data.params["encoder"]: run.data.tags["group"] for run in project.finished()}
    assert groups["voxels"] == by_weighting["binary"].data.tags["group"]
    assert groups["voxels"] != by_weighting["label"].data.tags["group"]
