"""A result: its pictures and tables, its reference rows, and what it says of itself."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.decomposition import PCA

import neuroprint as npr
from neuroprint.embedding.embed import embed
from neuroprint.embedding.embeddings import Embeddings
from neuroprint.evaluation.projections import PLS
from neuroprint.tasks import Composition, Metadata, Overlap, Region, Side, Survival, TumorPosition, TumorVolume
from neuroprint.tasks.leaderboard import metrics_of
from neuroprint.tasks.pictures import save_tables

WIDE = TumorPosition(radius_mm=40)
EVERY = [
    *(WIDE, Side(), Overlap(min_dice=0.1), Metadata(column="grade"), Metadata(column="age")),
    *(TumorVolume(), Composition(), Region(), Region(by="hemisphere"), Survival(time="age", event="died")),
]


@pytest.fixture(scope="module")
def result(voxels):
    return npr.evaluate(voxels, WIDE, projection=PCA(3, svd_solver="full"))


@pytest.fixture(scope="module")
def elsewhere(cohort, voxels):
    """Of vectors that were not made here."""
    vectors = np.random.default_rng(0).normal(size=(10, 6))
    return npr.evaluate(Embeddings(cohort, vectors, name="made elsewhere", store=voxels.store), WIDE)


@pytest.mark.slow
@pytest.mark.parametrize("task", EVERY, ids=lambda task: f"{task.name} {task.relevance}")
def test_every_figure_of_every_task_draws(graded, store, task):
    result = npr.evaluate(embed(graded, "voxels", store=store), task, folds=3)
    figures = result.figures()
    assert set(figures) == {"map", "precision_at_k", "probe", "retrieval"}
    for draw in figures.values():
        figure = draw()
        assert isinstance(figure, Figure) and figure.axes


def test_a_figure_is_drawn_by_its_name(result):
    assert isinstance(result.draw("precision_at_k"), Figure)
    with pytest.raises(KeyError):
        result.draw("portrait")


def test_figures_of_vectors_from_elsewhere_show_the_scans_too(elsewhere):
    assert set(elsewhere.figures()) == {"map", "precision_at_k", "probe", "retrieval"}
    assert set(elsewhere.facts) == set(elsewhere.ids)
    (page,) = elsewhere.draw("retrieval").axes
    assert page.images and len(page.images) % 6 == 0  # queries, each beside five neighbors


def test_where_no_scan_was_read_there_is_a_map_and_no_plate(graded, vectors_of):
    result = npr.evaluate(
        Embeddings(graded, vectors_of(graded)), Metadata(column="grade"), folds=3, references=("chance", "oracle")
    )
    assert result.facts == {}
    assert set(result.figures()) == {"map", "precision_at_k", "probe"}
    assert isinstance(result.draw("map"), Figure)


@pytest.fixture
def vectors_of():
    return lambda cohort: np.random.default_rng(0).normal(size=(len(cohort), 6))


def test_saving_writes_tables_pictures_and_the_interactive_map(result, tmp_path):
    result.save(tmp_path / "kept")
    names = {str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    plots = {f"plots/{name}" for name in ("map.png", "map.html", "precision_at_k.png", "probe.png", "retrieval.png")}
    printed = {name.replace(".png", ".pdf") for name in plots if name.endswith(".png")}
    assert names == {"embeddings.parquet", "queries.parquet", "influence.safetensors"} | plots | printed
    for name in plots:
        if name.endswith(".png"):
            with Image.open(tmp_path / "kept" / name) as picture:
                assert picture.width > 500
    page = (tmp_path / "kept" / "plots" / "map.html").read_text(encoding="utf-8")
    assert all(case in page for case in result.ids)


def test_the_tables_read_back_as_they_were(result, tmp_path):
    save_tables(result, tmp_path)
    queries = pd.read_parquet(tmp_path / "queries.parquet")
    assert list(queries.columns) == list(result.queries.columns)
    for name in result.queries:
        for ours, theirs in zip(result.queries[name], queries[name], strict=True):
            assert np.array_equal(ours, theirs, equal_nan=not isinstance(ours, str | list)) or list(ours) == list(
                theirs
            )
    assert metrics_of(queries) == metrics_of(result.queries)
    embeddings = pd.read_parquet(tmp_path / "embeddings.parquet")
    assert embeddings["case"].tolist() == list(result.ids)
    assert np.array_equal(np.stack(embeddings["embedding"]), result.vectors)
    again = npr.evaluate(
        Embeddings(result.embeddings.cohort, tmp_path / "embeddings.parquet", "euclidean"),
        WIDE,
        PCA(3, svd_solver="full"),
        references=(),
    )
    assert again.metrics == result.metrics


def test_chance_has_no_ranking_to_draw_or_to_keep(result, tmp_path):
    chance = result.as_reference("chance")
    assert result.has_ranking and not chance.has_ranking
    assert set(chance.figures()) == {"precision_at_k", "probe"}
    chance.save(tmp_path)
    assert {path.name for path in tmp_path.rglob("*.*")} == {
        *(
            "queries.parquet",
            "influence.safetensors",
            "precision_at_k.png",
            "precision_at_k.pdf",
            "probe.png",
            "probe.pdf",
        ),
    }


@pytest.mark.parametrize("made", ["result", "elsewhere"])
def test_a_reference_row_is_a_result_with_vectors_of_its_own(request, voxels, made):
    result = request.getfixturevalue(made)
    question = result.benchmark.question
    for role, expected in (("voxels", voxels.vectors), ("oracle", question.targets.astype(np.float32))):
        row = result.as_reference(role)
        assert (row.name, row.similarity, row.projection) == (role, "euclidean", None)
        assert row.metrics == result.references[role].metrics and row.queries is result.references[role].queries
        assert np.array_equal(row.vectors, expected) and np.array_equal(row.projected, expected.astype(np.float64))
        assert set(row.references) == {"chance", "voxels", "oracle"} - {role}
        assert set(row.figures()) == {"map", "precision_at_k", "probe", "retrieval"}
        assert set(row.facts) == set(result.ids)
        assert row.leaderboard.table["name"].tolist().count(role) == 1
    with pytest.raises(KeyError):
        result.as_reference("untrained")


def test_the_row_voxels_of_a_task_that_reads_no_scan_has_its_vectors_too(graded, vectors_of, voxels):
    result = npr.evaluate(Embeddings(graded, vectors_of(graded)), Metadata(column="grade"), folds=3)
    assert np.array_equal(result.as_reference("voxels").vectors, voxels.vectors)


def test_what_is_projected_for_pictures_is_fitted_on_all_scored_cases(voxels, result):
    wide = voxels.vectors.astype(np.float64)
    assert result.projected == pytest.approx(PCA(3, svd_solver="full").fit_transform(wide))
    plain = npr.evaluate(voxels, WIDE, references=())
    assert np.array_equal(plain.projected, wide)
    large = npr.evaluate(voxels, WIDE, PCA(64, svd_solver="full"), references=())
    assert large.projected.shape == (10, 10)


class LaidOut:
    """Cannot place a new case: a case's place depends on all others."""

    transductive = True

    def fit_transform(self, X, y=None):
        assert y is None
        return X[:, :2] - X[:, :2].mean(axis=0)


def test_projections_that_see_targets_or_only_lay_out_are_projected_too(elsewhere):
    embeddings = elsewhere.embeddings
    wide, targets = elsewhere.vectors.astype(np.float64), elsewhere.benchmark.question.targets
    supervised = npr.evaluate(embeddings, WIDE, PLS(2), references=())
    assert supervised.projected == pytest.approx(PLS(2).fit(wide, targets).transform(wide))
    laid_out = npr.evaluate(embeddings, WIDE, LaidOut(), references=())
    assert np.array_equal(laid_out.projected, LaidOut().fit_transform(wide))


def test_a_supervised_projection_is_fitted_on_the_cases_with_a_target(graded, vectors_of):
    result = npr.evaluate(
        Embeddings(graded, vectors_of(graded)), Metadata(column="grade"), PLS(1), folds=3, references=()
    )
    known = result.benchmark.question.located
    assert known.sum() == 9
    wide = result.vectors.astype(np.float64)
    expected = PLS(1).fit(wide[known], result.benchmark.question.targets[known]).transform(wide)
    assert result.projected == pytest.approx(expected)


def test_it_says_what_was_asked_and_answered(result):
    text = str(result)
    answered = int((result.queries["relevant"] > 0).sum())
    first = text.splitlines()[0]
    assert first == (
        f"tumor_position: 10 cases of 10 patients; {answered} queries have a case whose tumor's center lies within 40 mm"
    )
    assert answered == result.evaluation.answerable
    for name in (result.name, "oracle", "voxels", "chance"):
        assert name in text
    page = result._repr_html_()
    assert page == f"<p>{html.escape(first)}</p>{result.leaderboard._repr_html_()}" and result.name in page
    assert len(repr(result)) < 100 and len(repr(result.leaderboard)) < 200


def test_its_metrics_are_those_of_the_evaluation(result):
    assert result.metrics is result.evaluation.metrics
    assert (
        result.leaderboard.table.set_index("name").loc[result.name, "retrieval/map"] == result.metrics["retrieval/map"]
    )
