"""Embeddings that were made elsewhere are swept, ranked and marked like ours; a bundle cannot be made of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from neuroprint.data.formats.brats import BraTSFormat
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.embedding.store import FeatureStore
from neuroprint.tasks import TumorPosition
from neuroprint.tasks.evaluate import evaluate


@pytest.fixture(scope="module")
def swept(new_project, small_cohort):
    project = new_project()
    cases = sorted(folder.name for folder in small_cohort.iterdir())
    vectors = np.random.default_rng(0).normal(size=(len(cases), 6))
    pd.DataFrame({"case": cases, "embedding": list(vectors)}).to_parquet(project.folder / "mine.parquet", index=False)
    project.where = ("dataset=brats", f"dataset.root={small_cohort}", "task.radius_mm=30", "figures=false")
    choices = ("encoder=precomputed", "encoder.path=mine.parquet", "projection=none,pca,tsne", "components=2")
    project.outcome = project.run("-m", *choices, *project.where)
    return project


def by_projection(project):
    return {run.data.params["projection"]: run for run in project.finished()}


def test_every_projection_of_them_is_scored_and_named_by_their_file(swept):
    assert swept.outcome.returncode == 0, swept.outcome.stderr
    assert {run.info.run_name for run in swept.finished()} == {
        "precomputed · mine",
        "precomputed · mine · pca2",
        "precomputed · mine · tsne · not exportable",
    }


def test_they_have_the_numbers_that_python_gives(swept, small_cohort, tmp_path):
    cohort = BraTSFormat(str(small_cohort)).cohort()
    vectors = Embeddings(cohort, swept.folder / "mine.parquet", store=FeatureStore(tmp_path))
    expected = {
        name: evaluate(vectors, TumorPosition(radius_mm=30), projection).metrics
        for name, projection in (("none", None), ("pca", PCA(2, random_state=0)))
    }
    for name, metrics in expected.items():
        found = by_projection(swept)[name].data.metrics
        assert set(found) == set(metrics)
        np.testing.assert_allclose([found[key] for key in metrics], list(metrics.values()), rtol=1e-5, atol=1e-12)


def test_they_are_ranked_and_those_laid_out_with_the_queries_are_not(swept, artifact):
    (parent,) = swept.finished("sweep")
    board = pd.read_csv(artifact(parent, "leaderboard.csv"))
    assert sorted(board.loc[board["role"] == "reference", "name"]) == ["chance", "oracle", "voxels"]
    marks = board.loc[board["role"] == "candidate"].set_index("projection")["tied_with_best"]
    assert marks[["none", "pca"]].notna().all() and marks[["none", "pca"]].any()
    assert pd.isna(marks["tsne"]) and board["projection"].iloc[-1] == "tsne"
    standing = f"standing.{parent.info.run_id[:6]}"
    found = {name: run.data.tags[standing] for name, run in by_projection(swept).items()}
    assert found.pop("tsne") == "not ranked"
    told = {text.split("; ")[0] for text in found.values()}
    assert told <= {"the best", "may be as good as the best", "behind the best"} and "the best" in told


def test_they_are_marked_as_what_cannot_be_exported_and_export_says_why(swept):
    for run in swept.finished():
        assert (run.data.tags["exportable"], run.data.params["exportable"]) == ("false", "False")
    refused = swept.cli("export", "bundle", "--set", swept.where[1])
    assert refused.returncode == 2
    assert "skipped precomputed · mine: its embeddings come from a file" in refused.stderr
    assert not (swept.folder / "bundle").exists()


def test_no_folder_is_named_and_no_pass_is_counted(swept, artifact):
    for run in swept.finished():
        assert "extract/forwards" not in run.data.tags
        assert run.data.params["encoder.path"] == "mine.parquet"
        assert "path: mine.parquet" in artifact(run, "config.yaml").read_text(encoding="utf-8")


def test_a_file_that_does_not_fit_is_refused_in_a_line(swept, small_cohort):
    pd.DataFrame({"case": ["other"], "embedding": [[1.0]]}).to_parquet(swept.folder / "other.parquet")
    for path, said in (
        ("other.parquet", "expected Small_00000 ..., found other ..."),
        ("none.parquet", "no such file"),
    ):
        refused = swept.run("encoder=precomputed", f"encoder.path={path}", *swept.where)
        assert refused.returncode == 2 and said in refused.stderr
        assert "Traceback" not in refused.stderr
