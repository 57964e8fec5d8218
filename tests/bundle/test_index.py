"""What a gallery says of its own cases, by projections that were fitted without them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from neuroprint.bundle.index import Search, leave_fold_out, lengths_of, neighborhoods_of
from neuroprint.bundle.projection import apply_steps, steps_of
from neuroprint.catalog.menu import Catalog
from neuroprint.errors import NeuroprintError
from neuroprint.evaluation.folds import assign_folds
from neuroprint.evaluation.projection import fit_projection
from neuroprint.evaluation.similarity import cosine
from neuroprint.evaluation.vote import group_vote

IDS = [f"case-{row:03d}" for row in range(80)]


def noise(seed):
    """80 embeddings that know nothing of the centers, in mm; two visits each of 40 patients."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(80, 60)).astype(np.float32)
    return embeddings, rng.normal(size=(80, 3)) * 30, [f"patient-{row // 2:02d}" for row in range(80)]


def make(name):
    """An entry of conf/projection, of 40 components where it has a size."""
    return Catalog().part("projection", name, components=40).made


def out_of_fold(cohort, name):
    return leave_fold_out(*cohort, make(name), similarity="cosine", folds=5, seed=0)


def vote_on_side(cohort, name, lists):
    embeddings, centers, patients = cohort
    fitted = fit_projection(make(name), embeddings.astype(float), centers, patients)
    projected = apply_steps(steps_of(fitted), embeddings)
    side = ["right" if x > 0 else "left" for x in centers[:, 0]]
    lists = lists or neighborhoods_of(range(80), projected, patients, "cosine")
    return group_vote(projected[0], projected, IDS, patients, side, lists.rows, lists.similarities, shuffles=19)


@pytest.mark.parametrize("name", ["ridge", "lda"])
def test_a_projection_that_was_fitted_to_noise_makes_no_vote_good(name):
    scores, fitted = [], []
    for seed in range(8):
        cohort = noise(seed)
        scores.append(vote_on_side(cohort, name, out_of_fold(cohort, name)[0]).score)
        fitted.append(vote_on_side(cohort, name, None).score)
    assert 0.42 < np.mean(scores) < 0.58
    assert np.mean(fitted) > 0.7  # by neighbors that the projection has seen beside the case


@pytest.mark.parametrize("name", ["ridge", "lda"])
def test_usual_similarities_are_those_of_cases_that_the_projection_has_not_seen(name):
    embeddings, centers, patients = cohort = noise(0)
    lists, quantiles = out_of_fold(cohort, name)
    fold = assign_folds(patients, 5, 0)
    held = np.flatnonzero(fold == 2)
    inside = np.flatnonzero(fold != 2)
    names = [patients[row] for row in inside]
    model = fit_projection(make(name), embeddings[inside].astype(float), centers[inside], names)
    vectors = model.transform(embeddings.astype(float))
    close = cosine(vectors[held], vectors[inside])
    np.testing.assert_allclose(lists.similarities[held, 0], close.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(lists.rows[held, 0], inside[close.argmax(axis=1)])
    assert quantiles.shape == (1001,) and quantiles[-1] == pytest.approx(lists.similarities.max())


def test_without_a_projection_the_lists_are_those_of_the_other_folds():
    embeddings, _, patients = cohort = noise(1)
    lists, quantiles = leave_fold_out(*cohort, None, similarity="cosine", folds=5, seed=3)
    fold = assign_folds(patients, 5, 3)
    close = np.where(fold[:, None] != fold, cosine(embeddings, embeddings), -np.inf)
    order = np.argsort(-close, axis=1, kind="stable")
    apart = np.isfinite(np.take_along_axis(close, order, axis=1))
    np.testing.assert_array_equal(lists.rows, np.where(apart, order, -1))
    np.testing.assert_array_equal(lists.similarities, np.take_along_axis(close, order, axis=1).astype(np.float32))
    np.testing.assert_allclose(np.median(close[np.isfinite(close)]), quantiles[500], atol=1e-6)
    assert not [
        row for row in range(80) if patients[row] in {patients[other] for other in lists.rows[row] if other >= 0}
    ]


def test_a_vote_without_a_projection_is_that_of_the_other_folds():
    embeddings, centers, patients = cohort = noise(2)
    embeddings[:, 0] += 3 * (centers[:, 0] > 0)
    lists, _ = leave_fold_out(*cohort, None, similarity="cosine", folds=5, seed=0)
    side = np.array(["right" if x > 0 else "left" for x in centers[:, 0]])
    found = group_vote(embeddings[0], embeddings, IDS, patients, side, lists.rows, lists.similarities, k=3, shuffles=9)
    fold, close = assign_folds(patients, 5, 0), cosine(embeddings, embeddings)
    shares = []
    for row in range(80):
        near = sorted(np.flatnonzero(fold != fold[row]), key=lambda other: -close[row, other])[:4]
        weights = close[row, near] - close[row, near[3]]
        shares.append(weights[side[near] == "right"].sum() / weights.sum())
    assert found.score == pytest.approx(roc_auc_score(side == "right", shares), abs=1e-3)


def test_a_supervised_projection_is_fitted_to_the_cases_with_a_center_and_all_have_lists():
    embeddings, centers, patients = noise(3)
    centers[:10] = np.nan
    lists, _ = out_of_fold((embeddings, centers, patients), "ridge")
    assert (lists.rows[:, 0] >= 0).all()


def test_one_patient_has_no_neighbors_and_few_have_few_folds():
    embeddings, centers, _ = noise(4)
    lists, quantiles = out_of_fold((embeddings, centers, ["one"] * 80), "none")
    assert (lists.rows == -1).all() and not len(quantiles)
    lists, _ = out_of_fold((embeddings, centers, ["one"] * 40 + ["two"] * 40), "none")
    assert (lists.rows[:40, :40] >= 40).all() and (lists.rows[:, 40:] == -1).all()


def test_a_projection_that_cannot_be_fitted_without_a_fold_is_a_clear_error():
    embeddings, centers, patients = noise(5)
    centers[2:] = np.nan
    with pytest.raises(NeuroprintError, match="without a fold no case has one"):
        out_of_fold((embeddings, centers, patients), "ridge")
    centers[:4] = 1.0
    with pytest.raises(NeuroprintError, match="cannot be"):
        out_of_fold((embeddings, centers, patients), "lda")


MEASURES = {
    "cosine": lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    "dot": lambda a, b: a @ b,
    "euclidean": lambda a, b: -np.linalg.norm(a - b),
}


@pytest.mark.parametrize("similarity", MEASURES)
@pytest.mark.parametrize("k", [1, 7, 200, 500])
def test_a_search_finds_the_nearest_and_orders_equals_by_id(similarity, k):
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(50, 24)).astype(np.float32)
    origin = rng.permutation(np.repeat(np.arange(50), 4))  # every vector is there four times
    ids = [f"case-{name:03d}" for name in rng.permutation(200)]
    search = Search(vectors[origin], lengths_of(vectors[origin]), ids, similarity)
    for query in rng.normal(size=(5, 24)).astype(np.float32):
        values = [MEASURES[similarity](query.astype(float), vectors[row].astype(float)) for row in origin]
        by_origin = {row: values[np.flatnonzero(origin == row)[0]] for row in range(50)}
        expected = sorted(range(200), key=lambda row: (-by_origin[origin[row]], ids[row]))[:k]
        rows, similarities = search(query, k)
        assert rows == expected
        np.testing.assert_allclose(similarities, [values[row] for row in expected], atol=1e-6)


def test_a_search_refuses_a_query_of_another_size_and_no_cases():
    vectors = np.eye(3, dtype=np.float32)
    search = Search(vectors, lengths_of(vectors), ["a", "b", "c"], "dot")
    with pytest.raises(NeuroprintError, match="the query has 2 numbers, the gallery 3"):
        search(np.ones(2), 1)
    with pytest.raises(NeuroprintError, match="ask for one case at least"):
        search(np.ones(3), 0)
