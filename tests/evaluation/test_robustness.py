"""Scores of changed queries: the rank of the own clean scan, what is kept, and that nothing is fitted to a changed scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from neuroprint.evaluation.benchmark import Benchmark
from neuroprint.evaluation.intervals import student
from neuroprint.evaluation.projections import TSNE
from neuroprint.evaluation.robustness import KEPT, SELF_METRICS, share_kept
from neuroprint.evaluation.similarity import similarity_named


@pytest.fixture
def benchmark(make_question):
    question = make_question(60)
    return Benchmark(replace(question, metrics=(*question.metrics, *SELF_METRICS, KEPT)))


def embeddings_of(benchmark: Benchmark, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = np.nan_to_num(benchmark.question.targets)
    return centers @ np.random.default_rng(99).normal(size=(3, 20)) + noise * rng.normal(size=(len(centers), 20))


def test_unchanged_queries_find_themselves_and_keep_everything(benchmark):
    vectors = embeddings_of(benchmark, 15.0)
    found, clean = benchmark.score(vectors, changed=vectors), benchmark.score(vectors)
    assert found.metrics["robustness/self_p_at_1"] == found.metrics["robustness/self_mrr"] == 1.0
    assert found.metrics["robustness/p_at_5_kept"] == pytest.approx(1.0)
    for name, value in clean.metrics.items():
        if not name.startswith("robustness/"):
            assert found.metrics[name] == pytest.approx(value), name
    assert set(clean.undefined) >= {"robustness/self_p_at_1", "robustness/self_mrr", "robustness/p_at_5_kept"}


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("projection", [None, PCA(4)])
def test_ranks_of_own_scans_are_those_counted_one_by_one(benchmark, similarity, projection):
    vectors, changed = embeddings_of(benchmark, 15.0), embeddings_of(benchmark, 40.0, seed=1)
    found = benchmark.score(vectors, similarity, projection, changed=changed)
    closeness, ranks = similarity_named(similarity), np.empty(len(vectors))
    for split in benchmark.splits:
        gallery = vectors[split.gallery]
        model = None if projection is None else PCA(4, svd_solver="full").fit(gallery)
        put = (lambda rows: rows) if model is None else model.transform
        for query in split.queries:
            pool = put(np.concatenate([vectors[[query]], gallery]))
            close = closeness(put(changed[[query]]), pool)[0]
            ranks[query] = 1 + (close[1:] >= close[0]).sum()
    assert found.metrics["robustness/self_p_at_1"] == pytest.approx((ranks == 1).mean())
    assert found.metrics["robustness/self_mrr"] == pytest.approx((1 / ranks).mean())
    np.testing.assert_allclose(found.queries["self_mrr"], 1 / ranks)
    assert (
        found.metrics["robustness/self_mrr_lo"]
        < found.metrics["robustness/self_mrr"]
        < found.metrics["robustness/self_mrr_hi"]
    )


def test_galleries_and_fits_are_of_clean_scans(benchmark):
    """A changed scan of one query moves that query's row and nobody else's."""
    vectors, changed = embeddings_of(benchmark, 15.0), embeddings_of(benchmark, 40.0, seed=1)
    moved = changed.copy()
    moved[7] += 500.0
    one, other = (benchmark.score(vectors, "cosine", PCA(4), changed=rows).queries for rows in (changed, moved))
    for column in ("neighbors", "neighbor_similarity", "predicted_x_mm"):
        same = [a == b for a, b in zip(one[column].tolist(), other[column].tolist(), strict=True)]
        assert same.index(False) == 7 and sum(same) == len(same) - 1, column


def test_what_is_kept_is_what_is_above_chance(benchmark):
    vectors, changed = embeddings_of(benchmark, 5.0), embeddings_of(benchmark, 60.0, seed=1)
    found = benchmark.score(vectors, changed=changed).metrics
    clean, chance = benchmark.score(vectors).metrics, benchmark.chance.metrics
    above, below = (row["retrieval/p_at_5"] - chance["retrieval/p_at_5"] for row in (found, clean))
    assert found["robustness/p_at_5_kept"] == pytest.approx(above / below)
    assert found["robustness/p_at_5_kept_lo"] < above / below < found["robustness/p_at_5_kept_hi"]
    assert found["robustness/p_at_5_kept_hi"] < 1


def test_where_clean_queries_are_not_told_from_chance_nothing_can_be_kept(benchmark):
    nothing = np.random.default_rng(0).normal(size=(60, 20))
    found = benchmark.score(nothing, changed=nothing)
    assert "robustness/p_at_5_kept" not in found.metrics and "robustness/p_at_5_kept" in found.undefined


def test_the_interval_of_what_is_kept_holds_it(make_question):
    """Over cohorts drawn anew, the share that is kept lies in its interval about as often as it says."""
    values, bounds = [], []
    for seed in range(150):
        question = make_question(60, seed=seed)
        benchmark = Benchmark(replace(question, metrics=(*question.metrics, *SELF_METRICS, KEPT)))
        vectors, changed = embeddings_of(benchmark, 15.0, 2 * seed), embeddings_of(benchmark, 45.0, 2 * seed + 1)
        found = benchmark.score(vectors, changed=changed).metrics
        values.append(found["robustness/p_at_5_kept"])
        bounds.append([found[f"robustness/p_at_5_kept_{end}"] for end in ("lo", "hi")])
    low, high = np.array(bounds).T
    held = ((low <= np.mean(values)) & (np.mean(values) <= high)).mean()
    assert 0.90 <= held <= 0.995, held


def test_chance_finds_the_own_scan_at_any_place(benchmark):
    gallery = benchmark.chance.queries["gallery"].to_numpy()
    assert benchmark.chance.metrics["robustness/self_p_at_1"] == pytest.approx((1 / (gallery + 1)).mean())
    harmonic = [np.mean(1 / np.arange(1, size + 2)) for size in gallery]
    assert benchmark.chance.metrics["robustness/self_mrr"] == pytest.approx(np.mean(harmonic))


def test_a_projection_that_places_no_new_case_finds_no_own_scan(benchmark):
    vectors = embeddings_of(benchmark, 15.0)
    found = benchmark.score(vectors, "euclidean", TSNE(n_components=2, perplexity=5), changed=vectors)
    assert "robustness/self_p_at_1" in found.undefined and "retrieval/p_at_5" in found.metrics


def test_losing_a_case_moves_the_rank_of_those_behind_it(benchmark):
    """What a metric owes to a gallery is what it is worth without each of its cases."""
    ahead = np.array([[True, False, True], [False, False, True], [False, False, False]])
    for metric in SELF_METRICS:
        worth, without = metric.worth(ahead)
        for query in range(3):
            assert worth[query] == metric.of_rank(np.array([1 + ahead[query].sum()]))[0]
            for case in range(3):
                left = np.delete(ahead[query], case)
                assert without[query, case] == metric.of_rank(np.array([1 + left.sum()]))[0]


def test_kept_is_none_where_clean_is_below_chance(benchmark):
    scores = [benchmark.score(embeddings_of(benchmark, noise)).influences["retrieval/p_at_5"] for noise in (5.0, 500.0)]
    assert share_kept(scores[1], scores[0], benchmark.chance.influences["retrieval/p_at_5"]) is not None
    assert share_kept(scores[0], scores[1].minus(scores[0]), benchmark.chance.influences["retrieval/p_at_5"]) is None
    assert student(5.0, 0.9) < student(5.0)
