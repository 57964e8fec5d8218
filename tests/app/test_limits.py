"""What a cohort does not allow is clipped with a warning; what cannot be exported says so; the published recipe runs."""

from __future__ import annotations

import pytest

VOXELS = ("encoder=voxels", "retrieval.radius_mm=30", "retrieval.similarity=euclidean", "repeats=1")


def candidates(project):
    return [run for run in project.runs() if run.data.tags.get("role") == "candidate"]


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
    by_projection = {run.data.params["projection"]: run for run in candidates(clipped)}
    tsne, pca = by_projection["tsne"], by_projection["pca"]
    assert tsne.data.tags["exportable"] == "false" and pca.data.tags["exportable"] == "true"
    assert "not exportable" in tsne.info.run_name and "not exportable" not in pca.info.run_name
    assert tsne.data.params["exportable"] == "False" and "exportable" not in pca.data.params
    assert tsne.data.metrics["cohort/cases"] == pca.data.metrics["cohort/cases"] == 10
    references = [run for run in clipped.runs() if run.data.tags.get("role") == "reference"]
    assert references and {run.data.tags["exportable"] for run in references} == {"false"}


@pytest.mark.slow
def test_the_published_recipe_runs_and_stands_in_a_leaderboard_with_the_others(project, small_cohort):
    where = ("dataset=brats", f"dataset.root={small_cohort}", "retrieval.radius_mm=30", "repeats=1")
    network = ("encoder=untrained", "encoder.feature_size=12", "inferer.window=64")
    outcome = project.run("-m", "experiment=seed_article", *network, *where)
    assert outcome.returncode == 0, outcome.stderr
    assert "perplexity=50 is not below 10 cases" in outcome.stderr
    assert "target.units=voxel" in outcome.stderr
    by_target = {run.data.params["target"]: run for run in candidates(project)}
    assert set(by_target) == {"article", "center_of_mass"}
    assert sum(run.data.metrics["extract/forwards"] for run in by_target.values()) == 10
    assert {run.data.params["similarity"] for run in by_target.values()} == {"dot"}
    other = project.run("encoder=voxels", "figures=false", *where)
    assert other.returncode == 0, other.stderr
    groups = {run.data.params["encoder"]: run.data.tags["group"] for run in candidates(project)}
    assert groups["voxels"] == by_target["center_of_mass"].data.tags["group"]
    assert groups["voxels"] != by_target["article"].data.tags["group"]
