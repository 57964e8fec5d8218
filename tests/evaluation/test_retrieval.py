"""Retrieval metrics against scikit-learn and ranx, on thousands of random rankings of scores with ties.

References break ties in their own ways, so they are given minus the rank instead of the scores.
"""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from neuroprint.evaluation import retrieval
from neuroprint.evaluation.ranked import Judged, Ranked
from neuroprint.evaluation.ranking import rank
from neuroprint.evaluation.retrieval import RETRIEVAL_METRICS

QUERIES, GALLERY = 2000, 23


@pytest.fixture(scope="module")
def ranked() -> tuple[np.ndarray, np.ndarray]:
    """Relevance and graded gain, ranked by scores of which many tie; in some nothing, or everything, is relevant."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (QUERIES, GALLERY)).astype(float)
    order = rank(scores, [f"case{number}" for number in rng.permutation(GALLERY)])
    share = rng.choice([0.02, 0.1, 0.4, 0.9, 1.0], QUERIES)
    relevant = rng.random((QUERIES, GALLERY)) < np.maximum(share[:, None], scores * 0.05)
    gain = np.where(relevant, rng.integers(1, 5, relevant.shape) / 4, rng.integers(0, 2, relevant.shape) / 8)
    return np.take_along_axis(relevant, order, axis=1), np.take_along_axis(gain, order, axis=1)


MINUS_RANK = -np.arange(GALLERY, dtype=float)


def test_average_precision_and_auc_agree_with_scikit_learn(ranked):
    relevant = ranked[0][::2]
    precision, auc = retrieval.average_precision(relevant), retrieval.auc(relevant)
    nothing, everything = ~relevant.any(axis=1), relevant.all(axis=1)
    assert nothing.any() and everything.any()
    for ours, theirs, rows in (
        (precision, average_precision_score, relevant[~nothing]),
        (auc, roc_auc_score, relevant[~nothing & ~everything]),
    ):
        # Queries as the labels of a multi-label problem: one value for each.
        reference = theirs(rows.T, np.tile(MINUS_RANK[:, None], len(rows)), average=None)
        assert ours[np.isfinite(ours)] == pytest.approx(reference)
    assert np.array_equal(np.isnan(precision), nothing)
    assert np.array_equal(np.isnan(auc), nothing | everything)


@pytest.mark.parametrize("k", [1, 3, 10, GALLERY, 50])
def test_ndcg_of_graded_gain_agrees_with_scikit_learn(ranked, k):
    _, gain = ranked
    some = gain[gain.any(axis=1)][k::4]
    reference = [ndcg_score([row], [MINUS_RANK], k=k) for row in some]
    assert retrieval.ndcg_at_k(some, k) == pytest.approx(np.array(reference))
    assert np.isnan(retrieval.ndcg_at_k(np.zeros((1, GALLERY)), k)).all()


RANX = """
import sys
import numpy as np
from ranx import Qrels, Run, evaluate

grades, names = np.load(sys.argv[1]), sys.argv[3:]
judged = Qrels({f"q{q:05d}": {f"d{i}": int(g) for i, g in enumerate(row) if g} for q, row in enumerate(grades)})
ranked = {f"d{i}": float(-i) for i in range(grades.shape[1])}
np.save(sys.argv[2], evaluate(judged, Run({f"q{q:05d}": ranked for q in range(len(grades))}), names, return_mean=False))
"""


def test_metrics_agree_with_ranx(ranked, tmp_path):
    relevant, gain = ranked
    rows = np.flatnonzero(relevant.any(axis=1))
    found, grades = relevant[rows], np.where(relevant[rows], np.rint(gain[rows] * 4), 0).astype(int)
    ours = {f"precision@{k}": retrieval.precision_at_k(found, k) for k in (1, 3, 5, 10, 40)} | {
        "map": retrieval.average_precision(found),
        "mrr": retrieval.reciprocal_rank(found),
        "ndcg@10": retrieval.ndcg_at_k(grades.astype(float), 10),
    }
    np.save(tmp_path / "grades.npy", grades)
    files = [str(tmp_path / "grades.npy"), str(tmp_path / "theirs.npy")]
    # In a process of its own, as ranx compiles for minutes on a fresh machine unless numba is told not to.
    kept = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", RANX, *files, *ours], check=True, env=kept)
    theirs = np.load(files[1], allow_pickle=True)
    theirs = theirs.item() if theirs.dtype == object else dict(zip(ours, theirs, strict=True))
    for name, values in ours.items():
        assert values == pytest.approx(np.asarray(theirs[name], dtype=float)), name


def test_mean_distance_leaves_out_unknown_distances():
    distances = np.array([[1.0, 3.0, np.nan, 100.0], [np.nan, np.nan, np.nan, 1.0]])
    assert retrieval.mean_distance_at_k(distances, 3) == pytest.approx([2.0, np.nan], nan_ok=True)
    assert retrieval.mean_distance_at_k(distances[:1], 10) == pytest.approx([104 / 3])


@pytest.mark.parametrize(("gallery", "relevant"), [(1, 1), (2, 1), (7, 1), (7, 3), (7, 6), (7, 7), (40, 2), (40, 25)])
def test_expected_values_are_those_of_random_rankings(gallery, relevant):
    rng = np.random.default_rng(gallery * 100 + relevant)
    draws = 20_000
    gain_of_case = np.where(np.arange(gallery) < relevant, rng.uniform(0.5, 1, gallery), rng.uniform(0, 0.5, gallery))
    order = rng.permuted(np.tile(np.arange(gallery), (draws, 1)), axis=1)
    found, gain = order < relevant, gain_of_case[order]
    count = np.array([relevant])
    pairs = [
        (retrieval.average_precision(found), retrieval.expected_average_precision(count, gallery)),
        (retrieval.reciprocal_rank(found), retrieval.expected_reciprocal_rank(count, gallery)),
        (retrieval.ndcg_at_k(gain, 10), retrieval.expected_ndcg(gain_of_case[None], 10)),
        (retrieval.mean_distance_at_k(gain, 5), retrieval.expected_mean_distance(gain_of_case[None])),
    ]
    pairs += [
        (retrieval.precision_at_k(found, k), retrieval.expected_precision(count, gallery, k)) for k in (1, 3, 5, 10)
    ]
    if relevant < gallery:
        pairs.append((retrieval.auc(found), retrieval.expected_auc(count, gallery)))
    for simulated, expected in pairs:
        tolerance = 4.5 * simulated.std() / np.sqrt(draws) + 1e-12
        assert float(expected[0]) == pytest.approx(simulated.mean(), abs=tolerance)


def test_expected_values_without_anything_relevant_are_undefined():
    none = np.array([0])
    for value in (
        retrieval.expected_average_precision(none, 9),
        retrieval.expected_reciprocal_rank(none, 9),
        retrieval.expected_auc(none, 9),
        retrieval.expected_auc(np.array([9]), 9),
        retrieval.expected_ndcg(np.zeros((1, 9)), 10),
    ):
        assert np.isnan(value).all()


@pytest.fixture(scope="module")
def galleries() -> Ranked:
    """Galleries as ranked, of any share of relevant cases, with gains and distances of which some are not known."""
    rng = np.random.default_rng(0)
    relevant = rng.random((300, 17)) < rng.random((300, 1))
    gain, distance = rng.random((300, 17)), rng.random((300, 17)) * 50
    distance[rng.random((300, 17)) < 0.1] = np.nan
    assert not relevant.any(axis=1).all() and relevant.all(axis=1).any()
    return Ranked(relevant, gain, {"distance_mm": distance})


def drawn(queries: int, gallery: int, relevant: int | None = None, seed: int = 0) -> Ranked:
    """Galleries of any size as ranked, with so many relevant cases, or with any number of them."""
    rng = np.random.default_rng(seed)
    found = rng.random((queries, gallery)) < rng.random((queries, 1))
    if relevant is not None:
        found = rng.permuted(np.tile(np.arange(gallery) < relevant, (queries, 1)), axis=1)
    gain = np.where(rng.random((queries, gallery)) < 0.4, 0.0, rng.random((queries, gallery)))
    distance = np.where(rng.random((queries, gallery)) < 0.1, np.nan, rng.random((queries, gallery)) * 50)
    return Ranked(found, gain, {"distance_mm": distance})


@pytest.mark.parametrize("metric", RETRIEVAL_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize(
    ("gallery", "relevant"),
    # Galleries smaller than k, of just k cases and of one more; one relevant case, all, and all but one.
    [(2, 1), (2, 2), (3, None), (5, None), (6, None), (10, None), (11, None), (11, 1), (11, 2), (11, 10), (11, 11)],
)
def test_without_a_case_a_query_is_worth_what_the_shorter_ranking_is(metric, gallery, relevant):
    """The closed form against the metric itself, of the same ranking with that place deleted."""
    ranked = drawn(60, gallery, relevant, seed=gallery)
    closed = metric.without(ranked)
    assert closed.shape == (60, gallery)
    for place in range(gallery):
        expected = metric.of_query(ranked.without(place))
        assert closed[:, place] == pytest.approx(expected, nan_ok=True), place


def test_a_hit_that_a_hit_replaces_changes_nothing():
    ranked = np.array([[True, False, True, True, False]])
    assert retrieval.precision_without(ranked, 3).tolist() == [[2 / 3, 1.0, 2 / 3, 2 / 3, 2 / 3]]
    assert retrieval.precision_without(ranked, 4).tolist() == [[0.5, 0.75, 0.5, 0.5, 0.75]]
    # Nothing moves up in a gallery that ends at k.
    assert retrieval.precision_without(ranked, 5).tolist() == [[0.4, 0.6, 0.4, 0.4, 0.6]]


def test_a_metric_without_a_closed_form_deletes_case_by_case(galleries):
    for metric in RETRIEVAL_METRICS:
        deleted = replace(metric, without=None).worth_without(galleries)
        assert deleted == pytest.approx(metric.worth_without(galleries), nan_ok=True), metric.name


def test_without_its_only_case_a_gallery_is_worth_nothing_known():
    one = drawn(4, 1)
    assert np.isnan(replace(RETRIEVAL_METRICS[0], without=None).worth_without(one)).all()


def test_a_ranking_without_a_place_keeps_the_others_in_their_order():
    ranked = Ranked(np.array([[True, False, True]]), np.array([[1.0, 0.0, 0.5]]), {"d": np.array([[7.0, 8.0, 9.0]])})
    left = ranked.without(1)
    assert left.relevant.tolist() == [[True, True]] and left.gain.tolist() == [[1.0, 0.5]]
    assert left.pairs["d"].tolist() == [[7.0, 9.0]] and left.place.tolist() == [1, 2]
    judged = Judged(ranked.relevant, ranked.gain, ranked.pairs).without(np.array([1]))
    assert judged.relevant.tolist() == [[True, True]] and judged.pairs["d"].tolist() == [[7.0, 9.0]]


def test_a_record_scores_what_its_function_does(galleries):
    relevant, distance = galleries.relevant, galleries.pairs["distance_mm"]
    expected = {f"retrieval/p_at_{k}": retrieval.precision_at_k(relevant, k) for k in (1, 3, 5, 10)} | {
        "retrieval/map": retrieval.average_precision(relevant),
        "retrieval/mrr": retrieval.reciprocal_rank(relevant),
        "retrieval/ndcg_at_10": retrieval.ndcg_at_k(galleries.gain, 10),
        "retrieval/auc": retrieval.auc(relevant),
        "retrieval/dist_mm_at_5": retrieval.mean_distance_at_k(distance, 5),
    }
    found = {metric.name: metric.of_query(galleries) for metric in RETRIEVAL_METRICS}
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(found[name], values, equal_nan=True), name


@pytest.mark.parametrize("metric", RETRIEVAL_METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("relevant", [1, 4, 12])
def test_what_a_record_expects_is_the_mean_over_random_rankings(metric, relevant):
    rng = np.random.default_rng(relevant)
    gallery, draws = 12, 4000
    pairs = {"distance_mm": rng.random((1, gallery)) * 50}
    judged = Judged(np.arange(gallery)[None] < relevant, rng.random((1, gallery)), pairs)
    every = (np.repeat(values, draws, axis=0) for values in (judged.relevant, judged.gain, pairs["distance_mm"]))
    many = Judged(next(every), next(every), {"distance_mm": next(every)})
    order = rng.permuted(np.tile(np.arange(gallery), (draws, 1)), axis=1)
    values, expected = metric.of_query(many.ranked(order)), float(metric.expected(judged)[0])
    highest = np.inf if metric.highest is None else metric.highest
    assert (np.isnan(values) | (values >= metric.lowest) & (values <= highest)).all()
    if np.isnan(expected):  # of cases that are all relevant none ranks above another
        assert np.isnan(values).all() and (metric.name, relevant) == ("retrieval/auc", gallery)
    else:
        assert values.mean() == pytest.approx(expected, abs=4.5 * values.std() / np.sqrt(draws) + 1e-12)


def test_a_gallery_is_put_in_the_order_of_its_ranks():
    judged = Judged(np.array([[True, False, False]]), np.array([[1.0, 0.5, 0.0]]), {"d": np.array([[7.0, 8.0, 9.0]])})
    ranked = judged.ranked(np.array([[2, 0, 1]]))
    assert ranked.relevant.tolist() == [[False, True, False]]
    assert ranked.gain.tolist() == [[0.0, 1.0, 0.5]] and ranked.pairs["d"].tolist() == [[9.0, 7.0, 8.0]]
    assert ranked.place.tolist() == [1, 2, 3]
    assert ranked.hits.tolist() == [[0, 1, 1]] and ranked.found.tolist() == [[1]]
